"""adcli: visual anomaly detection from the command line, with plugins as equals.

This module holds what a plugin's entry-point module needs, and imports nothing heavy.
"""

from importlib.metadata import version

from adcli._bars import ProgressBar
from adcli._commands import install_command
from adcli._files import cache_folder
from adcli.errors import (
    AdcliError,
    BackboneError,
    DataError,
    ExportError,
    LackOfMemoryError,
    MissingCategoryError,
    OptionError,
    PluginError,
    RunError,
    StorageError,
    TrainingError,
    one_line,
)
from adcli.hookspecs import hookimpl
from adcli.options import BackboneOptions, Layers, Options, option
from adcli.progress import Progress, ProgressEvent, Silent
from adcli.specs import BackboneSpec, DatasetSpec, ExecutorSpec, ExporterSpec, ModelSpec

__version__ = version("adcli-core")
"""The core's version."""

__all__ = [
    "AdcliError",
    "BackboneError",
    "BackboneOptions",
    "BackboneSpec",
    "DataError",
    "DatasetSpec",
    "ExecutorSpec",
    "ExportError",
    "ExporterSpec",
    "LackOfMemoryError",
    "Layers",
    "MissingCategoryError",
    "ModelSpec",
    "OptionError",
    "Options",
    "PluginError",
    "Progress",
    "ProgressBar",
    "ProgressEvent",
    "RunError",
    "Silent",
    "StorageError",
    "TrainingError",
    "__version__",
    "cache_folder",
    "hookimpl",
    "install_command",
    "one_line",
    "option",
]
