"""The exported folder: what an exporter is given, how the result is opened, and whether it agrees with its run.

Nothing here imports torch: a machine that only runs exports has none.
"""

from adcli.exports.export import Export, ExportSource

__all__ = ["Export", "ExportSource"]
