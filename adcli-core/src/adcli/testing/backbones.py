"""The rules for backbones. A rule is a function whose docstring says what it promises."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from adcli._plugins.registry import Plugin, Provided
from adcli.data.decoding import Size
from adcli.errors import AdcliError, BackboneError, OptionError
from adcli.nn.backbones import Backbone, BackboneRequest, build_backbone, find_backbone
from adcli.nn.devices import make_repeatable
from adcli.nn.layers import Cover
from adcli.specs import BackboneSpec, load_target
from adcli.testing._failures import UnmetError, made_once
from adcli.testing._places import declared, packages
from adcli.testing.assertions import NAME, assert_described_lightly, assert_named, assert_refused, assert_silent

SIZES = ((64, 64), (96, 64), (75, 61), (97, 130))
SQUARES = (64, 96, 128, 160, 192, 224, 240, 256)
"""Sides of images for the other rules; the first that the network takes."""

LONG, WIDE = 250, 64
"""Sides of the images in which places are measured; few strides divide the first."""

CONTINUED = 64
"""By how many pixels less than this a network may continue an image; the coarsest maps have this stride."""

SHIFT, DRIFT = 0.8, 0.35
"""How far what a map finds may lie from where it is, in positions: anywhere, and at one end more than at the other."""

LAYERS = 4
"""Layers to look at, if a network has as many."""

SAME = 1e-5
"""Largest difference between maps that are the same, relative to their range."""

EXPORTED = 1e-4
"""The same for a traced backbone."""

NO_LAYER, NO_NETWORK = 1000, "no_such_network"


class Subject:
    """A backbone under test: made once for all rules that only look at it."""

    def __init__(self, provided: Provided[BackboneSpec], argument: str) -> None:
        self.provided = provided
        self.spec = provided.spec
        self.argument = argument

    def make(
        self,
        layers: tuple[int, ...],
        *,
        size: Size | None = None,
        argument: str | None = None,
        trainable: bool = False,
    ) -> Backbone:
        """Make the backbone as models do, from the same random numbers each time."""
        make_repeatable(0)
        request = BackboneRequest(layers, image_size=size or self.size)
        return build_backbone(self.provided, argument or self.argument, request, trainable=trainable)

    @made_once
    def size(self) -> Size:
        """The size of images that it is looked at with: the smallest square that it does not refuse."""
        for side in SQUARES:
            try:
                self.make((1,), size=(side, side))
            except BackboneError:
                continue
            return (side, side)
        return SIZES[0]

    @made_once
    def layers(self) -> tuple[int, ...]:
        """The first layers, up to :data:`LAYERS`, of those that there are."""
        for count in range(LAYERS, 1, -1):
            layers = tuple(range(1, count + 1))
            try:
                self.make(layers)
            except AdcliError:
                continue
            return layers
        return (1,)

    @made_once
    def backbone(self) -> Backbone:
        """The backbone with these layers, frozen."""
        return self.make(self.layers)

    def maps(self, images: Tensor, backbone: Backbone | None = None) -> list[Tensor]:
        """Return the maps of a copy of images."""
        backbone = backbone or self.backbone
        with torch.no_grad():
            return as_maps(backbone(images.clone()))


def as_maps(found: object) -> list[Tensor]:
    """Return what a backbone returned if rules can look at it, else fail in words."""
    if not isinstance(found, (list, tuple)):
        raise UnmetError(f"forward returned {type(found).__name__}, expected a list of maps (N, C, h, w)")
    for one in found:
        if not isinstance(one, Tensor):
            raise UnmetError(f"forward returned a list with {type(one).__name__}, expected maps (N, C, h, w)")
        if one.ndim != 4:
            raise UnmetError(f"forward returned a map of shape {tuple(one.shape)}, expected (N, C, h, w)")
    return list(found)


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that a backbone's code is in."""
    return packages(subject.provided, subject.spec.target)


def looked_at(subject: Subject, rule: str) -> object:
    """Return the function, or what describes the backbone, that a rule is about."""
    if rule in ("describing_imports_nothing_heavy", "the_spec_is_documented_and_loads"):
        return declared(subject.provided)
    return load_target(subject.spec.target)


def subject_of(backbone: str | BackboneSpec) -> Subject:
    """Return the subject of a backbone's name, with its argument, or of a spec that takes none."""
    if isinstance(backbone, BackboneSpec):
        return Subject(Provided(backbone, Plugin("test", "test", "0")), "")
    provided, argument = find_backbone(backbone)
    if provided.spec.name.endswith(":") and not argument:
        raise OptionError(f"backbone '{backbone}' takes the name of a network: {backbone}NAME.")
    return Subject(provided, argument)


@cache
def smooth_images(size: tuple[int, int] = SIZES[0], count: int = 4) -> Tensor:
    """Return images (N, 3, H, W) of blots and grain, as unlike each other as photographs."""
    generator = torch.Generator().manual_seed(7)
    blots = torch.rand(count, 3, 8, 8, generator=generator)
    grain = 0.1 * torch.randn(count, 3, *size, generator=generator)
    light = torch.linspace(0.4, 1, count).view(-1, 1, 1, 1)
    return (light * nn.functional.interpolate(blots, size=size, mode="bilinear") + grain).clamp(0, 1)


def _assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float, what: str) -> None:
    assert len(found) == len(expected), f"{what}: {len(found)} maps, expected {len(expected)}"
    for layer, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        assert one.shape == other.shape, (
            f"{what}: map {layer} has shape {tuple(one.shape)}, expected {tuple(other.shape)}"
        )
        difference = float((one - other).abs().max() / (other.max() - other.min()).clamp(min=1e-12))
        assert difference <= tolerance, (
            f"{what}: map {layer} differs by {difference:.2g} of its range, expected the same"
        )


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the backbone imports neither torch nor numpy."""
    assert_described_lightly(subject.provided.plugin, None, ("torch", "numpy"))


def the_spec_is_documented_and_loads(subject: Subject) -> None:
    """Name and summary are given, and the target can be called."""
    spec = subject.spec
    assert_named(spec.name, spec.summary, f"{NAME}:?")
    assert callable(load_target(spec.target)), f"target {spec.target} is no function"


def maps_agree_with_channels_and_strides(subject: Subject) -> None:
    """Each layer has one map, with the layer's channels and with the image's size divided by the layer's stride.

    A size may be refused, by a ``BackboneError``.
    """
    for values, name in ((subject.backbone.channels, "channels"), (subject.backbone.strides, "strides")):
        assert len(values) == len(subject.layers), (
            f"{name} are {values}, expected one for each of {len(subject.layers)} layers"
        )
    for size in dict.fromkeys([subject.size, *SIZES]):
        backbone = _make_unless_refused(subject, subject.layers, size)
        if backbone is None:
            continue
        maps = subject.maps(smooth_images(size)[:2], backbone)
        assert len(maps) == len(subject.layers), (
            f"forward returned {len(maps)} maps, expected one for each of {len(subject.layers)} layers"
        )
        for found, channels, cover in zip(maps, backbone.channels, backbone.covers, strict=True):
            shape = tuple(found.shape)
            assert shape[:2] == (2, channels), f"a map has shape {shape}, expected (2, {channels}, h, w) for two images"
            # Networks round up or down when they halve, and may not look beyond the border.
            close = _spans(shape[2:], cover, size)
            assert close, f"at {size[0]} x {size[1]}, a map has shape {shape}, expected its stride of {cover.stride:g}"


def _spans(grid: Sequence[int], cover: Cover, size: Size) -> bool:
    """Tell whether a grid covers an image: networks round when they halve, and may continue the image."""
    rests = [positions * cover.stride + 2 * cover.offset - side for positions, side in zip(grid, size, strict=True)]
    return all(-1.5 * cover.stride < rest < CONTINUED for rest in rests)


def _make_unless_refused(subject: Subject, layers: tuple[int, ...], size: Size) -> Backbone | None:
    """Return the backbone for a size, or None if it refuses the size."""
    try:
        return subject.make(layers, size=size)
    except BackboneError:
        if size == subject.size:
            raise
        return None


def maps_lie_where_the_backbone_says(subject: Subject) -> None:
    """A dot changes a map most at the positions that stand for its pixels, by stride and offset, at either end.

    Images are long ones whose sides few strides divide; if the backbone refuses them, large squares.
    """
    for size in ((WIDE, LONG), (LONG, WIDE)):
        backbone = _make_unless_refused(subject, subject.layers, size)
        if backbone is None:
            size = subject.size
            backbone = subject.backbone
        axis = int(size[1] > size[0])
        maps = subject.maps(smooth_images(size, 1), backbone)
        for index, (cover, found) in enumerate(zip(backbone.covers, maps, strict=True)):
            # Another rule is about grids that cannot cover the image.
            if size[axis] >= 8 * cover.stride and _spans(found.shape[2:], cover, size):
                _assert_places(subject, backbone, index, size, axis, found.shape[2 + axis])


def _assert_places(subject: Subject, backbone: Backbone, index: int, size: Size, axis: int, grid: int) -> None:
    """Compare where dots are with where a map has them, near the first and near the last of its positions."""
    stride, offset = backbone.covers[index]
    ends = []
    for start in (max(offset, 0) + 1.5 * stride, min(offset + grid * stride, size[axis]) - 3.5 * stride):
        dots = [start + (i + 0.5) * stride / 4 for i in range(8)]
        found = _find_dots(subject, backbone, index, size, axis, dots)
        errors = [offset + (place + 0.5) * stride - dot for place, dot in zip(found, dots, strict=True)]
        seen = [error / stride for error in errors if not math.isnan(error)]
        # A dot may happen to change nothing behind a rectifier.
        if len(seen) < len(dots) / 2:
            return
        ends.append(sum(seen) / len(seen))
    words = f"layer {index + 1} at {size[0]} x {size[1]} has dots {ends[0]:+.2f} and {ends[1]:+.2f} positions away"
    assert max(map(abs, ends)) <= SHIFT, f"{words}: are its strides and offsets right?"
    assert abs(ends[1] - ends[0]) <= DRIFT, f"{words}, at either end: is its stride right?"


def _find_dots(
    subject: Subject, backbone: Backbone, index: int, size: Size, axis: int, dots: Sequence[float]
) -> list[float]:
    """Return where along an axis of a map each dot of a copy of an image changes it most, in positions."""
    image = smooth_images(size, 1)
    half = max(backbone.covers[index].stride / 8, 1)
    dotted = image.repeat(len(dots), 1, 1, 1)
    middle = size[1 - axis] // 2
    across = slice(int(middle - 2 * half), int(middle + 2 * half))
    for copy, dot in zip(dotted, dots, strict=True):
        along = slice(round(dot - half), round(dot + half))
        part = (slice(None), along, across) if axis == 0 else (slice(None), across, along)
        copy[part] = 1 - copy[part].round()
    before, after = (subject.maps(images, backbone)[index] for images in (image, dotted))
    change = (after - before).square().sum(dim=(1, 3 - axis))
    weights = change / change.amax(dim=1, keepdim=True)
    # The tails, which attention spreads over the whole map, say nothing about the place.
    weights = (weights - 0.25).clamp(min=0)
    places = torch.arange(change.shape[1], dtype=change.dtype)
    return [float(place) for place in (weights * places).sum(dim=1) / weights.sum(dim=1)]


def maps_are_finite_float32(subject: Subject) -> None:
    """Maps are float32 and finite, for black and white images as well."""
    for images in (smooth_images(subject.size), torch.zeros(1, 3, *subject.size), torch.ones(1, 3, *subject.size)):
        for found in subject.maps(images):
            assert found.dtype == torch.float32, f"a map is {found.dtype}, expected torch.float32"
            assert torch.isfinite(found).all(), "a map is not finite everywhere, expected finite values"


def a_map_does_not_depend_on_the_batch(subject: Subject) -> None:
    """An image's maps are the same alone and in any batch, also after the backbone was set to train."""
    images = smooth_images(subject.size)
    together = subject.maps(images)
    alone = [subject.maps(image[None]) for image in images]
    stacked = [torch.cat(maps) for maps in zip(*alone, strict=True)]
    _assert_same(stacked, together, SAME, "alone and in a batch")
    try:
        _assert_same(subject.maps(images, subject.backbone.train()), together, SAME, "after train()")
    finally:
        subject.backbone.eval()


def it_is_frozen(subject: Subject) -> None:
    """Nothing in a frozen backbone is trained: no map and no parameter takes a gradient."""
    trained = [name for name, parameter in subject.backbone.named_parameters() if parameter.requires_grad]
    assert not trained, f"parameters take gradients, expected none: {', '.join(trained[:3])}"
    for found in as_maps(subject.backbone(smooth_images(subject.size))):
        assert not found.requires_grad, (
            "a map takes a gradient, expected none: are there parameters that are not registered?"
        )


def making_and_mapping_are_repeatable(subject: Subject) -> None:
    """The same images have identical maps the second time, and in a backbone made again from one seed."""
    images = smooth_images(subject.size)
    expected = subject.maps(images)
    for backbone, what in ((subject.backbone, "the second time"), (subject.make(subject.layers), "made again")):
        for one, other in zip(subject.maps(images, backbone), expected, strict=True):
            assert torch.equal(one, other), (
                f"{what}, expected equal maps, they differ by up to {float((one - other).abs().max()):.2g}"
            )


def the_input_is_left_alone(subject: Subject) -> None:
    """Mapping does not change the images it is given."""
    images = smooth_images(subject.size).clone()
    subject.backbone(images)
    assert torch.equal(images, smooth_images(subject.size)), (
        "forward changes its input in place, expected a copy to be changed"
    )


def layers_are_chosen_by_index(subject: Subject) -> None:
    """The map, channels and stride of a layer are the same whichever other layers are asked for."""
    images, backbone = smooth_images(subject.size), subject.backbone
    expected = subject.maps(images)
    for layers in ((1,), (subject.layers[-1],)):
        chosen = subject.make(layers)
        layer = layers[0] - 1
        facts = (tuple(chosen.channels), tuple(chosen.strides))
        wanted = ((backbone.channels[layer],), (backbone.strides[layer],))
        assert facts == wanted, f"layer {layers[0]} alone has channels and strides {facts}, expected {wanted}"
        _assert_same(subject.maps(images, chosen), [expected[layer]], SAME, f"layer {layers[0]} alone")


def nothing_is_computed_beyond_the_last_layer(subject: Subject) -> None:
    """With layer 1 alone, the backbone has no more parameters than with all, and computes only what that map needs."""
    backbone = subject.make(subject.layers[:1], trainable=True).requires_grad_(True)
    fewer, every = _parameters(backbone), _parameters(subject.make(subject.layers, trainable=True))
    assert fewer <= every, f"layer 1 alone has {fewer} parameters, expected at most those of all layers, {every}"
    ran: list[str] = []
    for name, module in backbone.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    maps = as_maps(backbone(smooth_images(subject.size)))
    if not maps[0].requires_grad:
        return
    torch.autograd.backward(maps[0].square().sum())
    left_out = [name for name in ran if _untouched(backbone.get_submodule(name))]
    assert not left_out, f"asked for layer 1, it computes {', '.join(left_out[:3])} for nothing"


def _parameters(backbone: Backbone) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


def _untouched(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and all(parameter.grad is None for parameter in own)


def the_state_restores_without_pretrained_weights(subject: Subject) -> None:
    """Made with ``pretrained=False`` and given the saved weights, its maps are the same."""
    images = smooth_images(subject.size)
    # Other random numbers, so that no weight is right by accident.
    make_repeatable(1)
    request = BackboneRequest(subject.layers, pretrained=False, image_size=subject.size)
    restored = build_backbone(subject.provided, subject.argument, request)
    restored.load_state_dict(subject.backbone.state_dict())
    _assert_same(subject.maps(images, restored), subject.maps(images), SAME, "after restoring")


def forward_can_be_exported(subject: Subject) -> None:
    """``torch.export`` traces it with a dynamic batch, and the result agrees for other batch sizes."""
    images = smooth_images(subject.size, 7)
    subject.maps(images)  # What cannot be looked at need not be traced.
    batch = torch.export.Dim("batch", min=2, max=1024)
    with torch.no_grad():
        exported = torch.export.export(subject.backbone, (images[:3],), dynamic_shapes=({0: batch},))
        for count in (2, 7):
            traced = exported.module()(images[:count])
            _assert_same(traced, subject.maps(images[:count]), EXPORTED, f"exported, batch of {count}")


def a_layer_that_is_not_there_is_refused(subject: Subject) -> None:
    """A layer beyond the last is an AdcliError of one line that names it."""
    assert_refused(lambda: subject.make((NO_LAYER,)), f"layer {NO_LAYER}", str(NO_LAYER))


def a_network_that_is_not_there_is_refused(subject: Subject) -> None:
    """After a prefix such as ``timm:``, an unknown name is an AdcliError of one line that repeats it."""
    if subject.spec.name.endswith(":"):
        name = f"{subject.spec.name}{NO_NETWORK}"
        assert_refused(lambda: subject.make((1,), argument=NO_NETWORK), name, NO_NETWORK)


def missing_weights_are_refused(subject: Subject) -> None:
    """``-o weights=FILE`` is never ignored: a file that is not there is an AdcliError of one line that names it."""
    request = BackboneRequest(subject.layers, weights=Path("no_such_weights.safetensors"))
    assert_refused(
        lambda: build_backbone(subject.provided, subject.argument, request),
        "a missing file of weights",
        "no_such_weights.safetensors",
    )


def making_is_silent(subject: Subject) -> None:
    """Making it and mapping images prints nothing and writes nothing into the current folder."""
    assert_silent(lambda: subject.maps(smooth_images(subject.size), subject.make(subject.layers)))


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    the_spec_is_documented_and_loads,
    maps_agree_with_channels_and_strides,
    maps_lie_where_the_backbone_says,
    maps_are_finite_float32,
    a_map_does_not_depend_on_the_batch,
    it_is_frozen,
    making_and_mapping_are_repeatable,
    the_input_is_left_alone,
    layers_are_chosen_by_index,
    nothing_is_computed_beyond_the_last_layer,
    the_state_restores_without_pretrained_weights,
    forward_can_be_exported,
    a_layer_that_is_not_there_is_refused,
    a_network_that_is_not_there_is_refused,
    missing_weights_are_refused,
    making_is_silent,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
