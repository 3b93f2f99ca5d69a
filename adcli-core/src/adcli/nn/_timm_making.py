"""Making timm's networks with the keywords that their constructors take, and weights in the form that they take."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adcli._process.imports import import_light
from adcli.data.decoding import Size
from adcli.nn.weights import Undrawn

_QUOTED = re.compile(r"'(\w+)'")


class Made(NamedTuple):
    """A network of timm, and whether it was made for the image size that was asked for."""

    network: Any
    for_size: bool


def own_size(argument: str) -> Size:
    """Return the image size that an architecture's weights were trained with."""
    config = import_light("timm.models").get_pretrained_cfg(argument)
    height, width = (config.input_size if config else (3, 224, 224))[1:]
    return height, width


def create(argument: str, size: Size | None, *, pretrained: bool = False, **keywords: Any) -> Made:
    """Make a network without its classifier, for an image size if its constructor takes one.

    Position embeddings are so resampled once, when weights are loaded. Without a size, one that resamples them for
    each image is made, if there is one. Whatever timm raises is passed on.
    """
    timm = import_light("timm")
    optional: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True}
    if size is not None:
        optional = {"img_size": tuple(size), "dynamic_img_size": False}
    while True:
        try:
            network = timm.create_model(argument, pretrained=pretrained, num_classes=0, **optional, **keywords)
        except TypeError as error:
            # The constructor is asked for its keywords before it draws anything; many hide behind **kwargs.
            refused = optional.keys() & set(_QUOTED.findall(str(error)))
            if not refused:
                raise
            for keyword in refused:
                del optional[keyword]
        else:
            return Made(network, "img_size" in optional)


@contextmanager
def undisturbed(device: str) -> Iterator[None]:
    """Within it, networks are made on a device, and no random number is taken from what the run draws."""
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad(), Undrawn():
        yield


def refit(argument: str, size: Size | None, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an architecture as timm would load them into the network made for an image size.

    timm renames what others call otherwise, drops what they have in addition, and resamples position embeddings.
    Whatever it raises is passed on.
    """
    with undisturbed("cpu"):
        network_class = type(_on_meta(argument, size))
        with _recording(network_class) as loaded:
            create(argument, size, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(tensors)})
    return loaded


def _on_meta(argument: str, size: Size | None) -> Any:
    with torch.device("meta"):
        return create(argument, size).network


@contextmanager
def _recording(network_class: type[nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Within it, a class of networks loads no weights; what it is given to load is in the dictionary."""
    loaded: dict[str, Tensor] = {}

    def load_state_dict(self: nn.Module, state: Mapping[str, Tensor], *_: Any, **__: Any) -> Any:
        loaded.update(state)
        return nn.Module.load_state_dict(nn.Module(), OrderedDict())

    before = vars(network_class).get("load_state_dict")
    setattr(network_class, "load_state_dict", load_state_dict)  # noqa: B010 - mypy lets no method be assigned
    try:
        yield loaded
    finally:
        delattr(network_class, "load_state_dict")
        if before is not None:
            setattr(network_class, "load_state_dict", before)  # noqa: B010
