"""The metrics of a run with what its threshold does now, which may be another one than when they were measured."""

from typing import Any

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli._files import parse_json, read_state
from adcli.errors import RunError
from adcli.metrics import judge_again, without_verdicts
from adcli.pipeline._evaluation_pass import METRICS_FILE, SCORES_FILE
from adcli.runs.run import Run
from adcli.scoring.verdict import read_table


def read_metrics(run: Run) -> dict[str, Any]:
    """Return what ``metrics.json`` of a run holds; nothing if there is none that can be read."""
    try:
        loaded = parse_json(read_state(inside(run.path, METRICS_FILE)))
    except (OSError, ValueError, RunError):
        return {}
    return loaded if isinstance(loaded, dict) and isinstance(loaded.get("image", {}), dict) else {}


def metrics_in_force(run: Run) -> tuple[dict[str, Any], str]:
    """Return the metrics of a run, their verdicts by the threshold in force, and what to say if those are not known.

    What ranks images needs no threshold. Verdicts come from the scores that are kept, and no image is scored again.
    """
    metrics, threshold = read_metrics(run), run.calibration.image_threshold
    if not metrics.get("image"):
        return metrics, ""
    try:
        rows = [(record, row) for record, row in read_table(inside(run.path, SCORES_FILE)) if record.score is not None]
        labelled = [(record, row["label"], row["defect"]) for record, row in rows if row["label"]]
        scores = np.array([record.score for record, _, _ in labelled], np.float64)
        is_defect = np.array([label == "defect" for _, label, _ in labelled], bool)
        counts = (int((~is_defect).sum()), int(is_defect.sum()))
        if counts != (metrics["image"].get("n_good"), metrics["image"].get("n_defect")):
            raise ValueError
        if any(record.model != run.record["weights"] for record, _, _ in labelled):
            raise ValueError
    except (OSError, ValueError, KeyError, RunError):
        if run.calibration.number <= 1:
            # There never was another threshold.
            return metrics, ""
        command = quote("adcli", "evaluate", run.path)
        words = "its scores are gone or changed, so that what its threshold does is not known; evaluate it again"
        return without_verdicts(metrics), f"{run.path / SCORES_FILE}: {words}: {command}"
    if all(record.threshold == threshold for record, _, _ in labelled):
        return metrics, ""
    return judge_again(metrics, scores, is_defect, [defect or None for _, _, defect in labelled], threshold), ""
