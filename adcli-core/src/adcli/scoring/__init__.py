"""From pixels to a verdict: runtimes, scores, thresholds and p-values. Nothing here imports torch."""

from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import ImageBatch, Runtime, Scored, cores, in_batches_of

__all__ = ["Calibration", "ImageBatch", "Runtime", "Scored", "cores", "in_batches_of"]
