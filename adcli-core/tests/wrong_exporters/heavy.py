"""An entry-point module that imports torch to describe its exporter."""

import torch

from adcli import ExporterSpec, Options, option


class HeavyOptions(Options):
    """Options whose default needs torch."""

    threads: int = option(torch.get_num_threads(), "Threads.", ge=1)
    compress: bool = option(False, "Compress the archive.")


HEAVY = ExporterSpec(
    name="heavy",
    target="wrong_exporters.exporters:export",
    runtime="wrong_exporters.runtimes:load",
    options=HeavyOptions,
    summary="a test exporter",
)
