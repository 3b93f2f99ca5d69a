"""From settings to the things they name: options with the backbone that can be had, device, precision, model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from adcli._plugins.registry import Provided, registry
from adcli.data.decoding import Size
from adcli.data.references import Data, _absolute, with_absolute_paths
from adcli.data.source import ImageSource
from adcli.errors import PluginError, TrainingError
from adcli.nn.backbones import FALLBACK, UNTRAINED_FALLBACK
from adcli.nn.model import Model
from adcli.nn.weights import weights_unavailable
from adcli.options import BackboneOptions, Options
from adcli.pipeline.settings import BATCH_SIZE, TrainSettings, parse_calibration
from adcli.progress import Progress
from adcli.specs import ModelSpec


def repeatable(settings: TrainSettings, data: Data) -> TrainSettings:
    """Return settings that name their data and folders so that they mean the same from any folder."""
    return replace(
        settings,
        data=data.reference,
        data_options=dict(data.options),
        calibration=_place(settings.calibration),
        validation=None if settings.validation is None else str(_absolute(settings.validation)),
    )


def _place(calibration: str) -> str:
    folder = parse_calibration(calibration)
    return str(_absolute(calibration)) if isinstance(folder, Path) else calibration


def checked_images(
    images: Sequence[Path], spec: ModelSpec, settings: TrainSettings, source: ImageSource, progress: Progress
) -> list[Path]:
    """Return the images that can be read.

    Training for hours must not end at an image that cannot be decoded; a fit in one pass meets it soon enough.
    """
    if spec.one_pass and not settings.skip_unreadable:
        return list(images)
    readable = list(progress.track(source.readable(images), len(images), "checking images"))
    for message in source.skipped.values():
        progress.note(f"skipped: {message}")
    return readable


def choose_batch_size(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> int:
    """Return the batch size asked for, else, on the demo data, the one that suits the model there."""
    if settings.batch_size is not None:
        return settings.batch_size
    if settings.data is None and spec.demo_batch_size is not None:
        progress.note(f"demo data: using --batch-size {spec.demo_batch_size}")
        return spec.demo_batch_size
    return BATCH_SIZE


@dataclass(frozen=True)
class ChosenOptions:
    """A model's options, and what became of its default backbone.

    Attributes:
        options: the options the model is made with.
        default_backbone: the default that was replaced, or None.
        reason: why it was replaced, or None.
    """

    options: Options
    default_backbone: str | None = None
    reason: str | None = None


def choose_options(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> ChosenOptions:
    """Parse the model's options; replace a default backbone that cannot be had, and say so.

    A backbone that the user named is never replaced.
    """
    values = dict(settings.options)
    if settings.data is None:
        suited = {key: value for key, value in spec.demo.items() if key not in values}
        if suited:
            progress.note(f"demo data: using {' '.join(f'-o {key}={value}' for key, value in suited.items())}")
        values |= suited
    options = with_absolute_paths(spec.options.parse(values))
    if not isinstance(options, BackboneOptions) or options.weights is not None or "backbone" in values:
        return ChosenOptions(options)
    reason = weights_unavailable(options.backbone)
    if reason is None:
        return ChosenOptions(options)
    return ChosenOptions(_fall_back(options, reason, progress), options.backbone, reason)


def _fall_back(options: BackboneOptions, reason: str, progress: Progress) -> BackboneOptions:
    if registry().backbones.get(FALLBACK) is not None:
        progress.note(f"backbone {options.backbone}: {reason} Using '{FALLBACK}' instead.")
        return replace(options, backbone=FALLBACK)
    progress.note(
        f"warning: backbone {options.backbone}: {reason} Using '{UNTRAINED_FALLBACK}', which has learnt nothing: "
        "expect poor results. Install adcli-embedded, or use -o weights=FILE."
    )
    return replace(options, backbone=UNTRAINED_FALLBACK)


def build_model(provided: Provided[ModelSpec], options: Options, size: Size, *, pretrained: bool) -> Model:
    """Make a model from its spec.

    Raises:
        PluginError: the spec's target is no model, or fails with anything but an ``AdcliError``.
    """
    model_class = provided.load(provided.spec.target)
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise PluginError(f"model '{provided.spec.name}' of {provided.plugin}: {provided.spec.target} is no Model.")

    def make() -> Model:
        try:
            return model_class(options, image_size=size, pretrained=pretrained)
        except torch.OutOfMemoryError:
            raise TrainingError(
                f"model '{provided.spec.name}': not enough memory to make it; see its options."
            ) from None

    return provided.guard("it cannot be made", make)
