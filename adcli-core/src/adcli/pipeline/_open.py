"""Finding runs and exports, and opening them to score. Nothing here imports torch."""

from dataclasses import replace
from pathlib import Path

from adcli._changes import inside
from adcli._commands import quote
from adcli._plugins.registry import registry
from adcli.data.part_rule import PartRule
from adcli.data.source import ImageSource
from adcli.errors import OptionError, RunError, one_line
from adcli.exports.export import MANIFEST_FILE, Export
from adcli.progress import Progress, Silent
from adcli.runs.find import find_folder, settle_run
from adcli.runs.run import CALIBRATION_FILE, EXPORTS, RUN_FILE, Run
from adcli.scoring.opened import Opened
from adcli.scoring.parts import of_parts
from adcli.scoring.scorer import Scorer


def load(reference: str | Path, *, progress: Progress | None = None) -> Run:
    """Open the run that a path, a name, the beginning of one or ``last`` stands for.

    Args:
        reference: what was given.
        progress: is told which run it stands for, unless that is what it says.

    Raises:
        RunError: there is none, or it is unfinished, damaged, or from a newer core.
    """
    path = _find(reference, progress)
    if _is_export(path):
        raise RunError(f"{path}: is an export, which 'adcli predict' and 'adcli bench' take; this needs a run.")
    return Run.open(path)


def find(reference: str | Path, *, progress: Progress | None = None, repairing: bool = False) -> Run | Export:
    """Open the run or the export that a path, a name or ``last`` stands for; ``last/exports/NAME`` works as well.

    Args:
        reference: what was given.
        progress: is told which run it stands for, unless that is what it says.
        repairing: take a run or an export whose calibration is damaged, without verdicts.

    Raises:
        RunError: there is none, or the run is unfinished, damaged, or from a newer core.
        ExportError: the export is damaged, or from a newer core.
    """
    path = _find(reference, progress)
    if _is_export(path):
        return Export.open(path, repairing=repairing)
    if not (path / RUN_FILE).is_file():
        raise RunError(f"{path}: neither a run (it has no {RUN_FILE}) nor an export (it has no {MANIFEST_FILE}).")
    return Run.open(path, repairing=repairing)


def _find(reference: str | Path, progress: Progress | None) -> Path:
    """Return the folder of a run or export, after finishing or removing what a killed command left in it."""
    path = find_folder(str(reference), (progress or Silent()).note)
    folder = path.absolute().parent
    run = folder.parent
    if folder.name == EXPORTS and (run / RUN_FILE).is_file():
        inside(run, f"{EXPORTS}/{path.name}")
        settle_run(run)
    if (path / RUN_FILE).is_file() or (path / MANIFEST_FILE).is_file():
        settle_run(path)
    return path


def _is_export(path: Path) -> bool:
    return (path / MANIFEST_FILE).is_file() and not (path / RUN_FILE).is_file()


def calibrated_since(opened: Run | Export) -> str:
    """Say whether the run that an export lies in was calibrated since it was made; nothing if not."""
    return opened.find_newer_calibration() if isinstance(opened, Export) else ""


def has_maps(opened: Run | Export) -> bool:
    """Tell whether a run or an export has anomaly maps; if not, its model only classifies.

    Raises:
        PluginError: the plugin of a run's model is missing or incompatible.
    """
    if isinstance(opened, Export):
        task = opened.manifest["task"]
    else:
        task = registry().models.find_maker(opened.record["model"], opened.record["plugin"], opened.path).spec.task
    return bool(task == "segmentation")


def open_scorer(
    opened: Opened,
    *,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    skip_unreadable: bool = False,
    part: str | None = None,
    views: int | None = None,
) -> Scorer:
    """Restore a run's model, or load an exported graph, ready to score; nothing is downloaded and nothing unpickled.

    Args:
        opened: a finished run or an export.
        device: what computes.
        batch_size: images computed at a time.
        workers: threads that decode.
        skip_unreadable: go on after images that cannot be read, where a command would end.
        part: a regular expression that finds the part that an image shows, if not the one that was calibrated with.
        views: images of a complete part, if not as many as was said then.

    Raises:
        OptionError: parts are told, and the threshold is of single images.
        RunError: the weights are damaged or do not fit.
        PluginError: the plugin of the model, or of the exporter, is missing or incompatible.
    """
    _check_zones(opened)
    runtime = of_parts(opened.runtime(device), opened.framing, opened.image_size)
    source = ImageSource(
        opened.image_size,
        workers=workers,
        cache_bytes=0,
        skip_unreadable=skip_unreadable,
        framing=opened.framing,
        learnt_from=opened.origin.learnt_from,
    )
    calibration = opened.calibration
    if part is not None or views is not None:
        calibration = replace(calibration, parts=_find_parts(opened, part, views))
    return Scorer(runtime, source, calibration, batch_size, opened.origin)


def _find_parts(opened: Opened, pattern: str | None, views: int | None) -> PartRule:
    """Return how parts are told: as was said when the threshold was set, but for what is given."""
    rule = opened.calibration.parts
    if rule is None:
        given = f"--views {views}" if pattern is None else f"--part {pattern}"
        command = quote("adcli", "calibrate", opened.path, "--data", "DIR", "--part", pattern or "REGEX")
        raise OptionError(
            f"{given}: the threshold of {opened.path} is of single images; set one of parts with: {command}"
        )
    return PartRule(rule.pattern if pattern is None else pattern, rule.views if views is None else views)


def _check_zones(opened: Opened) -> None:
    """Make sure that the thresholds are those of the zones that are looked at, in their order."""
    zones, calibrated = [zone.name for zone in opened.framing.zones], list(opened.calibration.zones)
    if calibrated and calibrated != zones:
        told, looked_at = (one_line(", ".join(names) or "none") for names in (calibrated, zones))
        place = opened.path / CALIBRATION_FILE
        raise RunError(f"{place}: zones are {told}, but those looked at are {looked_at}; copy the folder again.")
