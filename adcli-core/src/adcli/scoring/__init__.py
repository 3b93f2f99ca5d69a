"""From pixels to a verdict: runtimes, predictions, thresholds and p-values. Nothing here imports torch."""

from adcli.scoring.calibration import Calibration
from adcli.scoring.drift import Change, Drift, Step, find_change
from adcli.scoring.opened import Opened, Origin
from adcli.scoring.part_verdicts import PartVerdicts
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import Region
from adcli.scoring.runtime import ImageBatch, Runtime, Scored, cores, in_batches_of
from adcli.scoring.scorer import Scorer
from adcli.scoring.verdict import VerdictRecord

__all__ = [
    "Calibration",
    "Change",
    "Drift",
    "ImageBatch",
    "Opened",
    "Origin",
    "PartVerdicts",
    "Prediction",
    "Region",
    "Runtime",
    "Scored",
    "Scorer",
    "Step",
    "VerdictRecord",
    "cores",
    "find_change",
    "in_batches_of",
]
