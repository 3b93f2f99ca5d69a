"""From settings to the things they name: options with the backbone that can be had, device, precision, model."""

from dataclasses import dataclass, replace
from pathlib import Path

from adcli._commands import install_command
from adcli._plugins.registry import registry
from adcli.data.references import Data, make_absolute, with_absolute_paths
from adcli.data.samples import Splits
from adcli.data.source import ImageSource, Item, items_of
from adcli.data.splitting import content_digests
from adcli.errors import AdcliError
from adcli.nn.backbones import FALLBACK, UNTRAINED_FALLBACK, sketch_backbone, spread_layers
from adcli.nn.weights import weights_unavailable
from adcli.options import BackboneOptions, Options
from adcli.progress import Progress
from adcli.runs.settings import BATCH_SIZE, TrainSettings, parse_calibration
from adcli.specs import ModelSpec


def name_absolutely(settings: TrainSettings, data: Data) -> TrainSettings:
    """Return settings that name their data and folders so that they mean the same from any folder."""
    return replace(
        settings,
        data=data.reference,
        data_options=dict(data.options),
        calibration=_place(settings.calibration),
        validation=None if settings.validation is None else str(make_absolute(settings.validation)),
    )


def _place(calibration: str) -> str:
    folder = parse_calibration(calibration)
    return str(make_absolute(calibration)) if isinstance(folder, Path) else calibration


def read_good_images(
    splits: Splits, spec: ModelSpec, source: ImageSource, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Return the images to train on that can be read, and their digests.

    Training for hours must not end at an image that cannot be decoded. A fit in one pass meets it soon enough, so that
    its images are only hashed here.
    """
    items = items_of(sample.image for sample in splits.train)
    if spec.one_pass and not source.skip_unreadable:
        return items, content_digests([item.path for item in items], source.workers)
    read = progress.track(source.stream(items), len(items), "checking images")
    digests = {item: image.digest for item, image in read}
    for message in source.skipped.values():
        progress.note(f"skipped: {message}")
    return [item for item in items if item in digests], [digests[item] for item in items if item in digests]


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
    if not isinstance(options, BackboneOptions):
        return ChosenOptions(options)
    replaceable = options.weights is None and "backbone" not in values
    reason = weights_unavailable(options.backbone) if replaceable else None
    chosen = options if reason is None else _fall_back(options, reason, progress)
    if "layers" not in values:
        chosen = _choose_layers(chosen, "norm" not in values, progress)
    return ChosenOptions(chosen) if reason is None else ChosenOptions(chosen, options.backbone, reason)


def _choose_layers(options: BackboneOptions, norm: bool, progress: Progress) -> BackboneOptions:
    """Choose a transformer's blocks by its depth, with its final norm; the default layers are those of other networks.

    Args:
        options: whose layers the user did not give.
        norm: whether the user left the norm open, too.
        progress: what is told.
    """
    try:
        sketch = sketch_backbone(options.backbone)
    except AdcliError:
        # What is wrong is said when the backbone is made.
        return options
    if sketch.layer_kind != "block" or sketch.layer_count is None:
        return options
    layers = spread_layers(sketch.layer_count, len(options.layers))
    listed = ",".join(map(str, layers))
    chosen = replace(options, layers=layers, norm=norm or options.norm)
    normed = ", with its final norm" if chosen.norm else ""
    progress.note(f"backbone {options.backbone}: blocks {listed} of {sketch.layer_count}{normed} (-o layers={listed})")
    return chosen


def _fall_back(options: BackboneOptions, reason: str, progress: Progress) -> BackboneOptions:
    if registry().backbones.get(FALLBACK) is not None:
        progress.note(f"backbone {options.backbone}: {reason} Using '{FALLBACK}' instead.")
        return replace(options, backbone=FALLBACK)
    progress.note(
        f"warning: backbone {options.backbone}: {reason} Using '{UNTRAINED_FALLBACK}', which has learnt nothing: "
        f"expect poor results. Use -o weights=FILE, or type: {install_command('adcli-embedded')}"
    )
    return replace(options, backbone=UNTRAINED_FALLBACK)
