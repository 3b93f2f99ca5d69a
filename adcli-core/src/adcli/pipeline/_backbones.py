"""What ``adcli backbones show`` says of a backbone."""

from typing import NamedTuple

from adcli._showing import cut, introduce
from adcli.nn.backbones import find_backbone, sketch_backbone, spread_layers


class DescribedBackbone(NamedTuple):
    """A backbone's layers.

    Attributes:
        name, summary, provider: of the backbone.
        layers: how many there are, if it says so.
        kind: stages or blocks.
        strides, channels: of each.
        default: the blocks that a model uses by default, if it wants one, two or three; empty for stages.
    """

    name: str
    summary: str
    provider: str
    layers: int | None
    kind: str
    strides: tuple[float, ...]
    channels: tuple[int, ...]
    default: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        known = "" if self.layers is None else f"{self.layers} {self.kind}s" if self.kind else f"{self.layers} layers"
        return introduce(self, self.name, known, cut(self.summary, 50))


def describe_backbone(name: str) -> DescribedBackbone:
    """Describe a backbone, without its weights.

    Raises:
        BackboneError: no such backbone, or it cannot be made.
    """
    provided, _ = find_backbone(name)
    sketch = sketch_backbone(name)
    count = sketch.layer_count
    blocks = count is not None and sketch.layer_kind == "block"
    return DescribedBackbone(
        name,
        provided.spec.summary,
        str(provided.plugin),
        count,
        sketch.layer_kind,
        sketch.strides,
        sketch.channels,
        tuple(spread_layers(count, number) for number in (1, 2, 3)) if blocks and count else (),
    )
