"""From settings to the things they name: options with the backbone that can be had, device, precision, model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adcli._commands import install_command
from adcli.data.coverage import STEP, choose_size, find_typical, say_coverage
from adcli.data.decoding import Size
from adcli.data.framing import Framing, parse_size
from adcli.data.references import Data, with_absolute_paths
from adcli.data.samples import Splits
from adcli.data.source import ImageSource, Item, items_of
from adcli.data.splitting import content_digests
from adcli.data.tiling import choose_tiles
from adcli.errors import AdcliError, BackboneError, DataError
from adcli.nn.backbones import (
    UNTRAINED_FALLBACK,
    find_backbone,
    sketch_backbone,
    split_layers,
    split_names,
    spread_layers,
)
from adcli.nn.weights import weights_unavailable
from adcli.options import BackboneOptions, Options, spell_list
from adcli.progress import Progress
from adcli.runs.settings import BATCH_SIZE, TrainSettings, anchor_paths, framing
from adcli.specs import FALLBACK, ModelSpec


def name_absolutely(settings: TrainSettings, data: Data) -> TrainSettings:
    """Return settings that name their data and folders so that they mean the same from any folder."""
    return replace(anchor_paths(settings), data=data.reference, data_options=dict(data.options))


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
    if items and not digests:
        first = next(iter(source.skipped.values()), "")
        raise DataError(f"none of the {len(items)} good images can be used: {first}")
    return [item for item in items if item in digests], [digests[item] for item in items if item in digests]


def choose_sizes(
    settings: TrainSettings,
    spec: ModelSpec,
    options: Options,
    sizes: Sequence[tuple[int, int, int]],
    progress: Progress,
) -> tuple[TrainSettings, Size]:
    """Return settings that say how many tiles there are, and height and width of the model's input.

    Args:
        settings: perhaps with ``auto``.
        spec: of the model.
        options: of the model, with its backbone.
        sizes: height and width of the images to train on, and how many have them.
        progress: is told what was chosen, and that photographs are looked at coarsely.

    Raises:
        OptionError: the number of tiles would be too large.
    """
    looked_at = framing(settings, None)
    part = find_typical(sizes, looked_at)
    size = spec.image_size
    if settings.image_size not in (None, "auto"):
        size = parse_size(settings.image_size)
    elif part is not None and (settings.image_size or has_their_aspect(spec)):
        size = _choose_size(part, size, looked_at, options, progress, is_asked_for=settings.image_size is not None)
    if settings.tiles == "auto":
        columns, rows = (1, 1) if part is None else choose_tiles(part, size, settings.tile_overlap)
        settings = replace(settings, tiles=f"{columns}x{rows}")
    chosen = framing(settings, None)
    if settings.tiles:
        count = len(chosen.tiling) * len(chosen.of_zones) * sum(number for *_, number in sizes)
        progress.note(f"--tiles {settings.tiles}, of {size[1]} x {size[0]} pixels each: {count:,} to learn from.")
    hint = "" if part is None else say_coverage(part, size, chosen)
    if hint:
        progress.note(f"hint: {hint}")
    return settings, size


def has_their_aspect(spec: ModelSpec) -> bool:
    """Tell whether a model's input has the aspect of photographs unless a size is asked for: on a backbone it has."""
    return issubclass(spec.options, BackboneOptions)


def _choose_size(
    part: Size, default: Size, looked_at: Framing, options: Options, progress: Progress, *, is_asked_for: bool
) -> Size:
    """Return the size that has the aspect of photographs, or the default if the backbone does not take it.

    What nobody asked for is said only where it makes a difference.
    """
    size = choose_size(part, default, looked_at, _find_step(options))
    if not is_asked_for and size == default:
        return default
    refusal = _refuse_size(options, size)
    if refusal:
        if is_asked_for:
            progress.note(f"--image-size {default[0]}x{default[1]}, as {refusal}")
        return default
    progress.note(f"--image-size {size[0]}x{size[1]}, the aspect of {part[1]} x {part[0]} pixels.")
    return size


def _find_step(options: Options) -> int:
    """Return what the sides of images are multiples of: of several patches, for transformers with odd ones."""
    if not isinstance(options, BackboneOptions):
        return STEP
    try:
        stride = int(max(sketch_backbone(options.backbone).strides))
    except AdcliError:
        # What is wrong is said when the backbone is made.
        return STEP
    return STEP if STEP % stride == 0 else stride * max(round(STEP / stride), 1)


def _refuse_size(options: Options, size: Size) -> str:
    """Return why a backbone does not take images of a size; nothing if it does."""
    if not isinstance(options, BackboneOptions):
        return ""
    try:
        sketch_backbone(options.backbone, size)
    except AdcliError as error:
        return error.format_message()
    return ""


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
    chosen = options if reason is None else _fall_back(spec, options, reason, progress)
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
        names = split_names(options.backbone)
        sketches = list(map(sketch_backbone, names))
        lists = split_layers(options.layers, names)
    except AdcliError:
        # What is wrong is said when the backbone is made.
        return options
    depths = [sketch.layer_count if sketch.layer_kind == "block" else None for sketch in sketches]
    if not any(depths):
        return options
    chosen = [
        layers if depth is None else spread_layers(depth, len(layers))
        for layers, depth in zip(lists, depths, strict=True)
    ]
    norm = norm or options.norm
    given = spell_list(chosen if len(chosen) > 1 else chosen[0])
    for name, layers, depth in zip(names, chosen, depths, strict=True):
        if depth is not None:
            blocks, normed = spell_list(layers), ", with its final norm" if norm else ""
            progress.note(f"backbone {name}: blocks {blocks} of {depth}{normed} (-o layers={given})")
    return replace(options, layers=tuple(chosen) if len(chosen) > 1 else chosen[0], norm=norm)


def _is_offered(backbone: str) -> bool:
    try:
        for name in split_names(backbone):
            find_backbone(name)
    except BackboneError:
        return False
    return True


def _fall_back(spec: ModelSpec, options: BackboneOptions, reason: str, progress: Progress) -> BackboneOptions:
    for name in (spec.stand_in, FALLBACK):
        if _is_offered(name):
            progress.note(f"backbone {options.backbone}: {reason} Using '{name}' instead.")
            return replace(options, backbone=name)
    progress.note(
        f"warning: backbone {options.backbone}: {reason} Using '{UNTRAINED_FALLBACK}', which has learnt nothing: "
        f"expect poor results. Use -o weights=FILE, or type: {install_command('adcli-embedded')}"
    )
    return replace(options, backbone=UNTRAINED_FALLBACK)
