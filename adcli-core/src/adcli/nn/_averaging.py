"""Several layers of one backbone averaged into one map, as some models take the blocks of a transformer."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from adcli.errors import BackboneError

if TYPE_CHECKING:
    from adcli.nn.backbones import Backbone


class AveragedFeatures(nn.Module):
    """The maps of a network, each ``count`` of them averaged, in their order.

    Args:
        features: maps normalised images to the list of maps.
        count: of maps that become one.
    """

    def __init__(self, features: nn.Module, count: int) -> None:
        super().__init__()
        self.features, self.count = features, count

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [part.float() for part in self.features(images)]
        groups = [maps[start : start + self.count] for start in range(0, len(maps), self.count)]
        return [sum(group[1:], start=group[0]) / self.count for group in groups]


def average_layers(backbone: "Backbone", count: int) -> "Backbone":
    """Have a backbone average each ``count`` of its layers, such as the middle blocks of a transformer.

    Raises:
        BackboneError: their number is no multiple of it, or they differ in channels or in what they cover.
    """
    number, kinds = len(backbone.channels), list(zip(backbone.channels, backbone.covers, strict=True))
    if number % count:
        raise BackboneError(
            f"backbone '{backbone.name}': {number} layers cannot be averaged {count} at a time (-o average={count}); "
            f"name a multiple of {count} with -o layers=."
        )
    if any(len(set(kinds[start : start + count])) > 1 for start in range(0, number, count)):
        raise BackboneError(
            f"backbone '{backbone.name}': its layers differ in channels or strides, and cannot be averaged; leave out "
            "-o average=."
        )
    backbone.features = AveragedFeatures(backbone.features, count)
    for name in ("channels", "strides", "offsets"):
        setattr(backbone, name, getattr(backbone, name)[::count])
    return backbone
