"""The metrics of a run with what its threshold does now, which may be another one than when they were measured."""

import contextlib
from typing import Any

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli.data.part_rule import Scored, join_scored
from adcli.errors import RunError
from adcli.metrics import judge_again, without_verdicts
from adcli.pipeline._evaluation_pass import SCORES_FILE
from adcli.runs.calibrations import list_numbers, read_kept
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.verdict import read_table


def metrics_in_force(run: Run) -> tuple[dict[str, Any], str]:
    """Return the metrics of a run, their verdicts by the threshold in force, and what to say if those are not known.

    What ranks images needs no threshold. Verdicts come from the scores that are kept, and no image is scored again.

    Raises:
        RunError: ``metrics.json`` cannot be read, or holds no metrics.
    """
    metrics, threshold = read_metrics(run.path), run.calibration.image_threshold
    if not metrics.get("image"):
        return metrics, ""
    command = quote("adcli", "evaluate", run.path)
    try:
        rows = [(record, row) for record, row in read_table(inside(run.path, SCORES_FILE)) if record.score is not None]
        labelled = [(record, row["label"], row["defect"]) for record, row in rows if row["label"]]
        joined = join_scored(
            (record.part or i, Scored(record.score or 0.0, label == "defect", defect or None))
            for i, (record, label, defect) in enumerate(labelled)
        )
        scores = np.array([one.score for one in joined], np.float64)
        is_defect = np.array([one.is_defect for one in joined], bool)
        counts = (int((~is_defect).sum()), int(is_defect.sum()))
        if counts != (metrics["image"].get("n_good"), metrics["image"].get("n_defect")):
            raise ValueError
        if any(record.model != run.record["weights"] for record, _, _ in labelled):
            raise ValueError
    except (OSError, ValueError, KeyError, RunError):
        if run.calibration.number <= 1:
            # There never was another threshold.
            return metrics, ""
        words = "its scores are gone or changed, so that what its threshold does is not known; evaluate it again"
        return without_verdicts(metrics), f"{run.path / SCORES_FILE}: {words}: {command}"
    if run.calibration.zones and not {record.calibration for record, _, _ in labelled} <= _list_like(run):
        words = "its scores say where zones stand among other good images than those that calibrate the run now"
        return without_verdicts(metrics), f"{run.path / SCORES_FILE}: {words}; evaluate it again: {command}"
    if all(record.threshold == threshold for record, _, _ in labelled):
        return metrics, ""
    if (metrics.get("unit") == "part") != (run.calibration.parts is not None):
        words = f"its scores are not of {run.calibration.unit}s, which the threshold is of now; evaluate it again"
        return without_verdicts(metrics), f"{run.path / SCORES_FILE}: {words}: {command}"
    return judge_again(metrics, scores, is_defect, [one.kind for one in joined], threshold), ""


def _list_like(run: Run) -> set[str]:
    """Return the digests of a run's calibrations whose scores can be compared with those of the one in force.

    A score says where the oddest zone stands among the good images of that zone.
    """
    calibrations = [run.calibration]
    for number in list_numbers(run.path):
        # What cannot be read is as if it were not kept.
        with contextlib.suppress(RunError):
            calibrations.append(read_kept(run.path, number).calibration)
    good = _list_good_scores(run.calibration)
    return {one.digest for one in calibrations if _list_good_scores(one) == good}


def _list_good_scores(calibration: Calibration) -> list[tuple[str, tuple[float, ...], float]]:
    return [(name, zone.image_scores, zone.rounding[0]) for name, zone in calibration.zones.items()]
