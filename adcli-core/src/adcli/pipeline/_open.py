"""Finding runs and exports, and opening them to score. torch is imported only where a run's model is restored."""

from pathlib import Path

from adcli._process.imports import without_collection
from adcli.data.decoding import Size
from adcli.data.framing import IGNORE_FILE, Flags, Framing, ignored_digest, read_ignored
from adcli.data.source import ImageSource
from adcli.errors import DataError, OptionError, RunError, needing_torch
from adcli.exports.export import MANIFEST_FILE, Export, load_runtime
from adcli.pipeline.settings import NOT_SETTINGS, TrainSettings, framing
from adcli.runs.find import find_folder
from adcli.runs.run import RUN_FILE, Run
from adcli.scoring.runtime import Runtime
from adcli.scoring.scorer import Scorer


def load(reference: str | Path) -> Run:
    """Open the run that a path, a name or ``last`` stands for.

    Raises:
        RunError: there is none, or it is unfinished, damaged, or from a newer core.
    """
    return find_run(str(reference))


def find(reference: str | Path) -> Run | Export:
    """Open the run or the export that a path, a name or ``last`` stands for; ``last/exports/NAME`` works as well.

    Raises:
        RunError: there is none, or the run is unfinished, damaged, or from a newer core.
        ExportError: the export is damaged, or from a newer core.
    """
    path = find_folder(str(reference))
    if is_export(path):
        return Export.open(path)
    if not (path / RUN_FILE).is_file():
        raise RunError(f"{path}: neither a run (it has no {RUN_FILE}) nor an export (it has no {MANIFEST_FILE}).")
    return Run.open(path)


def open_scorer(
    opened: Run | Export,
    *,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    cache: int = 0,
    skip_unreadable: bool = False,
) -> Scorer:
    """Restore a run's model, or load an exported graph, ready to score; nothing is downloaded and nothing unpickled.

    Raises:
        RunError: the weights are damaged or do not fit.
        PluginError: the plugin of the model, or of the exporter, is missing or incompatible.
    """
    runtime, size = _export_runtime(opened, device) if isinstance(opened, Export) else _run_runtime(opened, device)
    source = ImageSource(
        size,
        workers=workers,
        cache_bytes=cache << 20,
        skip_unreadable=skip_unreadable,
        framing=framing_of(opened),
    )
    low, high = (opened.manifest if isinstance(opened, Export) else opened.record)["map_range"]
    return Scorer(runtime, source, opened.calibration, (low, high), batch_size)


def framing_of(opened: Run | Export) -> Framing:
    """Return what a run, or an export, does to images before they are resized.

    Raises:
        RunError: the run's copy of the ignored areas is missing or was changed.
    """
    if isinstance(opened, Export):
        return opened.framing
    settings = TrainSettings.parse({key: value for key, value in opened.settings.items() if key not in NOT_SETTINGS})
    return framing(settings, None if settings.ignore is None else _ignored_by(opened))


def _ignored_by(run: Run) -> Flags:
    path = run.path / IGNORE_FILE
    try:
        ignored = read_ignored(path)
    except DataError as error:
        raise RunError(f"{error.message.rstrip('.')}; copy the whole run folder again.") from None
    if ignored_digest(ignored) != run.record["ignore"]:
        raise RunError(f"{path}: was changed or damaged since the run (its pixels differ); restore it or retrain.")
    return ignored


def _export_runtime(export: Export, device: str) -> tuple[Runtime, Size]:
    if device not in ("auto", "cpu"):
        raise OptionError(f"--device {device}: an export runs on the CPU; leave it out.")
    height, width = export.manifest["image_size"]
    return load_runtime(export), (height, width)


def _run_runtime(run: Run, device: str) -> tuple[Runtime, Size]:
    with needing_torch(), without_collection():
        from adcli.pipeline._restore import run_runtime
    return run_runtime(run, device)


def find_run(reference: str) -> Run:
    """Open the run that a path, a name or ``last`` stands for; raises :class:`RunError` where there is none."""
    path = find_folder(reference)
    if is_export(path):
        raise RunError(f"{path}: is an export, which 'adcli predict' and 'adcli bench' take; this needs a run.")
    return Run.open(path)


def is_export(path: Path) -> bool:
    """Tell whether a folder is an export rather than a run."""
    return (path / MANIFEST_FILE).is_file() and not (path / RUN_FILE).is_file()
