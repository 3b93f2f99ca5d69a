"""All that is decided before a training computes anything, and the outcome of a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import torch

from adcli._plugins.registry import Provided
from adcli._showing import introduce, join_blocks, say_threshold
from adcli.data.decoding import Size
from adcli.data.references import Data
from adcli.data.source import ImageSource
from adcli.errors import AdcliError
from adcli.metrics.words import say_auroc
from adcli.options import Options
from adcli.pipeline._evaluation_pass import Evaluation
from adcli.pipeline._inputs import Inputs
from adcli.report.notebook import show_some
from adcli.runs.images import SeenImage
from adcli.runs.run import Run
from adcli.runs.settings import TrainSettings
from adcli.runs.showing import show_run
from adcli.scoring.thresholds import CalibrationPlan
from adcli.specs import ModelSpec

BEGAN_WITH = "began_with"
"""The key of an unfinished run's record that says what it was given, so that no other is taken to go on with."""


class KeptFit(TypedDict):
    """What ``run.yaml`` says of a fit that is over, before the run is finished: so that it is never done twice."""

    weights: str
    timings: dict[str, float]
    updating: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that is decided before anything is computed.

    Attributes:
        inputs: all else that is given; of several processes, only the first one knows it.
        training: the good images, by names relative to the folder that they have in common.
        kept_fit: of a training that was continued after its fit, what :class:`KeptFit` says; None if it is to fit.
        origin: the run whose model learns more, of an update; None if a new model is fitted.
        earlier: the images that the origin's model was fitted to.
    """

    settings: TrainSettings
    provided: Provided[ModelSpec]
    options: Options
    size: Size
    batch_size: int
    data: Data
    plan: CalibrationPlan
    device: torch.device
    precision: torch.dtype
    source: ImageSource
    record: dict[str, Any]
    training: Sequence[SeenImage]
    inputs: Inputs
    kept_fit: KeptFit | None = None
    origin: Run | None = None
    earlier: Sequence[SeenImage] = ()


@dataclass(frozen=True)
class Trained:
    """A finished run and, if the data has test images, its evaluation; of several processes, only the first has it.

    If the machines share no file system, the run's folder lies on the first one's.

    Attributes:
        run: the run, which is complete without an evaluation too.
        evaluation: of the data's test images; None if there are none, or if it failed.
        not_evaluated: why it failed, and how to go on; its exit code is that of what went wrong.
    """

    run: Run
    evaluation: Evaluation | None
    not_evaluated: AdcliError | None = None

    def __repr__(self) -> str:
        metrics = self.evaluation.metrics if self.evaluation else None
        lack = "" if self.not_evaluated is None else f"not evaluated: {self.not_evaluated.format_message()}"
        facts = say_auroc(metrics), say_auroc(metrics, "pixel"), say_threshold(self.run.calibration.image_threshold)
        return introduce(self, self.run.path, str(self.run.settings.get("model", "")), *facts, lack)

    def _repr_html_(self) -> str:
        if self.evaluation is None:
            lack = "" if self.not_evaluated is None else f"not evaluated: {self.not_evaluated.format_message()}"
            return join_blocks(show_run(self.run), lack)
        return join_blocks(show_run(self.run, self.evaluation.metrics), show_some(self.evaluation.shown))
