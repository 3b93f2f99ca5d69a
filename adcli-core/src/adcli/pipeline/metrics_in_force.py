"""The metrics of a run with what its threshold does now, which may be another one than when they were measured."""

from typing import Any

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli.data.part_rule import Scored, join_scored
from adcli.errors import RunError
from adcli.metrics import judge_again, without_verdicts
from adcli.pipeline._evaluation_pass import SCORES_FILE
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run
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
        # Where a zone stands depends on the good images that it is compared with.
        if run.calibration.zones and any(record.calibration != run.calibration.digest for record, _, _ in labelled):
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
    return judge_again(metrics, scores, is_defect, [one.kind for one in joined], threshold), ""
