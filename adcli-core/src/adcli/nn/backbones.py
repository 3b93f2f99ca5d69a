"""Pretrained networks as lists of feature maps, and where their weights come from.

A name is ``timm:NAME.TAG``, ``torchvision:NAME``, ``random:NAME`` (timm's architecture without learnt weights) or the
name of a plugin's backbone. Layers are counted from 1; in most networks layer 1 to 4 are the last maps at stride 4, 8,
16 and 32, which is what papers call layer1 to layer4. In a vision transformer they are its blocks. ``A+B`` is one
backbone with the maps of both (:mod:`adcli.nn._joined`).

A backbone states what its maps cover, so that what is found in them is drawn at the right place in the image: see
:class:`~adcli.nn.Cover`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from adcli._process.imports import import_light
from adcli.data.decoding import Size
from adcli.errors import AdcliError, BackboneError, OptionError, is_out_of_memory, one_line
from adcli.nn._averaging import average_layers
from adcli.nn._folding import fold_batch_norms
from adcli.nn.layers import Cover
from adcli.nn.weights import Undrawn
from adcli.options import BackboneOptions, Layers

if TYPE_CHECKING:
    from adcli._plugins.registry import Provided
    from adcli.specs import BackboneSpec


IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Means of ImageNet's red, green and blue in [0, 1], which most networks subtract."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Their standard deviations, by which most networks divide."""

UNTRAINED_FALLBACK = "random:resnet18"


@dataclass(frozen=True)
class BackboneRequest:
    """What a model asks of a backbone.

    Attributes:
        layers: the feature maps wanted, counted from 1, ascending.
        pretrained: whether to load learnt weights; False where a run's weights will replace them.
        weights: a local file to load them from, or None for the backbone's own.
        image_size: height and width of the images, or None if the model did not say; they may then have any size.
        norm: whether the network's final norm is applied to every map.
    """

    layers: tuple[int, ...]
    pretrained: bool = True
    weights: Path | None = None
    image_size: Size | None = None
    norm: bool = False


class Backbone(nn.Module):
    """Maps images (N, 3, H, W) in [0, 1] to feature maps (N, C_i, H_i, W_i), one for each layer asked for.

    Args:
        features: maps normalised images to the list of maps.
        channels: number of channels of each map.
        strides: pixels of the image per position of each map.
        offsets: where the first position of each map begins, in pixels; 0 if None. See :class:`~adcli.nn.Cover`.
        mean, std: of the images the network was trained on, per channel of [0, 1] pixels.
        image_size: height and width of the images, if the network is made for one size.
        layer_count: how many layers there are to choose from, if that is to be known.
        layer_kind: what they are: stages, each coarser than the one before, or blocks at one stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: Sequence[int],
        strides: Sequence[float],
        offsets: Sequence[float] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        image_size: Size | None = None,
        layer_count: int | None = None,
        layer_kind: Literal["stage", "block"] = "stage",
    ) -> None:
        super().__init__()
        self.name = ""
        self.features = features
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.offsets = (0.0,) * len(self.strides) if offsets is None else tuple(offsets)
        self.image_size = image_size
        self.layer_count = layer_count
        self.layer_kind = layer_kind
        self.precision = torch.float32
        self.frozen = False
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if self.precision == torch.float32:
            return self._map(normalised)
        with torch.autocast(images.device.type, self.precision):
            maps = self._map(normalised)
        return [feature_map.float() for feature_map in maps]

    @property
    def covers(self) -> tuple[Cover, ...]:
        """Which pixels of an image the positions of each map stand for."""
        return tuple(Cover(stride, offset) for stride, offset in zip(self.strides, self.offsets, strict=True))

    @property
    def members(self) -> tuple[int, ...]:
        """Of ``A+B``, the number of the backbone that each map is of; of one backbone, zeros."""
        return (0,) * len(self.channels)

    def equalise(self, batches: Iterable[Tensor]) -> None:
        """Bring the maps of ``A+B`` to one scale, measured on good images (N, 3, H, W); of one backbone, do nothing.

        A fit does this first, if the channels of all maps meet in one distance, one sum of squares, or one step size.
        """

    def _map(self, images: Tensor) -> list[Tensor]:
        """Return the maps of normalised images; what goes wrong in here is the backbone's, not its model's."""
        try:
            maps = list(self.features(images))
        except AdcliError:
            raise
        except Exception as error:
            if torch.compiler.is_compiling() or is_out_of_memory(error):
                raise
            size = f"{images.shape[2]} x {images.shape[3]}"
            raise BackboneError(
                f"backbone '{self.name}' cannot take images of {size} ({one_line(error)}): choose another "
                "--image-size or --backbone."
            ) from error
        kinds = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in maps]
        if [kind[1:2] for kind in kinds if len(kind) == 4] != [(channels,) for channels in self.channels]:
            shapes = ", ".join(map(str, kinds))
            raise BackboneError(
                f"backbone '{self.name}': its maps have shapes {shapes}, not {self.channels} channels; report this to "
                "its author, or choose another --backbone."
            )
        return maps

    def freeze(self, image_size: Size | None = None) -> "Backbone":
        """Make this a constant: no gradients, always in evaluation mode, batch norms folded into their convolutions.

        Args:
            image_size: of images that it takes; None for any.
        """
        self.frozen = True
        self.requires_grad_(False)
        self.eval()
        self._fold(image_size or (64, 64))
        return self

    def _fold(self, image_size: Size) -> None:
        """Fold batch norms; small images do, but not every network takes them."""
        size = self.image_size or (64, 64)
        try:
            fold_batch_norms(self, size)
        except BackboneError:
            if image_size == size:
                raise
            fold_batch_norms(self, image_size)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, except for a frozen backbone, which stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self


def create_backbone(
    options: BackboneOptions, *, image_size: Size | None = None, pretrained: bool = True, trainable: bool = False
) -> Backbone:
    """Make the backbone that the options name, frozen unless it is to be trained; of ``A+B``, one of their maps.

    Args:
        options: of the model.
        image_size: height and width of what the backbone will see. Transformers are made for it, and what maps cover
            is found out for it; without it, both are left to chance.
        pretrained: load its weights; False if a run's will follow.
        trainable: leave it an ordinary module.

    Raises:
        BackboneError: no such backbone or layer, it takes no such images, or its weights cannot be had.
    """
    names = split_names(options.backbone)
    if len(names) > 1 and options.weights is not None:
        raise OptionError(f"is a file for one backbone, and '{options.backbone}' is {len(names)}.", option="weights")
    weights = options.weights if pretrained else None
    of_blocks = _list_transformers(names) if options.norm or options.average > 1 else ()
    backbones = []
    for name, layers in zip(names, split_layers(options.layers, names), strict=True):
        norm = options.norm and name in of_blocks
        request = BackboneRequest(tuple(sorted(layers)), pretrained, weights, image_size, norm)
        backbone = build_backbone(*find_backbone(name), request, trainable=trainable)
        is_averaged = options.average > 1 and name in of_blocks
        backbones.append(average_layers(backbone, options.average) if is_averaged else backbone)
    joined = _join(backbones)
    return joined if trainable or joined.frozen else joined.freeze(image_size)


def split_names(backbone: str) -> list[str]:
    """Return the names that ``+`` joins in ``A+B``; a single one as it is.

    Raises:
        BackboneError: a name is missing.
    """
    names = [name.strip() for name in backbone.split("+")]
    if len(names) > 1 and not all(names):
        raise BackboneError(f"'{backbone}': a backbone is missing beside '+'; give A+B, such as embedded+timm:NAME.")
    return names


def split_layers(layers: Layers, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the layers of each of several backbones; a single list holds for all.

    Raises:
        OptionError: there are lists for more or fewer backbones, or one is empty.
    """
    lists = [part for part in layers if isinstance(part, tuple)]
    single = tuple(part for part in layers if not isinstance(part, tuple))
    if lists and len(lists) != len(names):
        words = "is one backbone" if len(names) == 1 else f"are {len(names)} backbones"
        raise OptionError(
            f"has {len(lists)} lists, and there {words}, {'+'.join(names)}: give one list for all, or one for each.",
            option="layers",
        )
    if not all(lists or [single]):
        raise OptionError("must name at least one layer.", option="layers")
    return lists or [single] * len(names)


def _list_transformers(names: Sequence[str]) -> list[str]:
    """Return the backbones whose blocks are normed and averaged: the transformers among several, or those named."""
    return [name for name in names if len(names) == 1 or sketch_backbone(name).layer_kind == "block"] or list(names)


def _join(backbones: Sequence[Backbone]) -> Backbone:
    if len(backbones) == 1:
        return backbones[0]
    # What is joined is a backbone itself.
    from adcli.nn._joined import JoinedBackbone

    return JoinedBackbone(backbones)


def find_backbone(name: str) -> tuple["Provided[BackboneSpec]", str]:
    """Return the spec that a name such as ``timm:resnet18`` stands for, and the part of the name after its prefix.

    Raises:
        BackboneError: no plugin offers it, or it names several.
    """
    if len(split_names(name)) > 1:
        raise BackboneError(f"'{name}' is several backbones: name one of them.")
    # A model names its backbone by an option, so plugins are looked up here, inside the model, and not at the edge:
    # otherwise every author of a model would have to take a backbone and hand it on.
    from adcli._plugins.registry import registry

    prefix, colon, argument = name.partition(":")
    known = registry().backbones
    provided = known.get(prefix + colon)
    if provided is None:
        if not colon and import_light("timm").is_model(prefix.partition(".")[0]):
            raise BackboneError(f"unknown backbone '{name}'; timm has a network of that name: --backbone timm:{name}.")
        raise BackboneError(known.explain_unknown(prefix + colon, name))
    return provided, argument


def build_backbone(
    provided: "Provided[BackboneSpec]", argument: str, request: BackboneRequest, *, trainable: bool = False
) -> Backbone:
    """Make the backbone of a spec, frozen unless it is to be trained.

    Raises:
        BackboneError: no such layer, its weights cannot be had, or the spec's target makes no backbone.
    """
    create = provided.load(provided.spec.target)
    backbone = provided.guard("it cannot be made", lambda: create(argument, request))
    name = provided.spec.name + argument
    if not isinstance(backbone, Backbone):
        raise BackboneError(f"backbone '{name}': its plugin returned {type(backbone).__name__}, expected a Backbone.")
    if request.norm and backbone.layer_kind != "block":
        raise BackboneError(f"backbone '{name}': no norm is common to its layers; leave out -o norm=true.")
    backbone.name = name
    backbone.to(memory_format=torch.channels_last)
    return backbone if trainable else backbone.freeze(request.image_size)


def sketch_backbone(name: str, size: Size | None = None) -> Backbone:
    """Make a backbone of all layers that there are, without values: on torch's meta device, in fractions of a second.

    Args:
        name: as ``-o backbone=`` takes it; the layers of ``A+B`` are those of both.
        size: height and width of the images, or None for any.

    Raises:
        BackboneError: no such backbone, or it cannot be made so, or it takes no such images.
    """
    return _join([_sketch(one, size) for one in split_names(name)])


def _sketch(name: str, size: Size | None) -> Backbone:
    provided, argument = find_backbone(name)
    # Drawing parameters on that device would import all that compiles torch code: a second.
    with torch.random.fork_rng(devices=[]), torch.device("meta"), Undrawn():
        request = BackboneRequest((1,), pretrained=False, image_size=size)
        first = build_backbone(provided, argument, request, trainable=True)
        layers = tuple(range(1, (first.layer_count or 1) + 1))
        if len(layers) == 1:
            return first
        return build_backbone(provided, argument, replace(request, layers=layers), trainable=True)


def spread_layers(depth: int, count: int) -> tuple[int, ...]:
    """Return as many of a transformer's blocks as a model wants: from half of its depth to the last, evenly spread.

    Three are blocks 6, 9 and 12 of 12, one is the last: what AnomalyDINO (arXiv 2405.14529) and its successors use.
    """
    if count == 1:
        return (depth,)
    steps = (0.5 + 0.5 * i / (count - 1) for i in range(count))
    return tuple(sorted({max(round(step * depth), 1) for step in steps}))


def check_layers(layers: tuple[int, ...], count: int, name: str) -> tuple[int, ...]:
    """Return the layers that were asked for; raises :class:`BackboneError` if a network has no such layer."""
    for layer in layers:
        if not 1 <= layer <= count:
            raise BackboneError(f"{name} has layers 1 to {count}; layer {layer} was asked for (-o layers=).")
    return layers
