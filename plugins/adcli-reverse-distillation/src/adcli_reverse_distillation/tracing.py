"""Which of a backbone's maps may have values below 0, read from one pass: the decoder's last activation depends on it.

Weights do not tell: a model is made before those of its run are loaded. So the operations do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adcli.data import Size
from adcli.nn import Backbone

_RECTIFIERS = frozenset({"relu", "relu_", "relu6", "sigmoid", "sigmoid_", "hardsigmoid", "softmax", "abs", "square"})
_CLAMPS = frozenset({"hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min"})
_COPIES = frozenset({"clone", "contiguous", "float", "to", "type"})


class _Signs(TorchFunctionMode):
    """Notes which tensors have no value below 0, by the function that returned them last.

    A function that is not known is taken to return values below 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[int, tuple[Tensor, bool]] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        output = function(*args, **keywords)
        if isinstance(output, Tensor):
            # Keeping the tensor keeps its id from being used again.
            self.noted[id(output)] = (output, self._is_rectified(getattr(function, "__name__", ""), args, keywords))
        return output

    def _is_rectified(self, name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
        if name in _CLAMPS:
            lowest = keywords.get("min_val", keywords.get("min", args[1] if len(args) > 1 else None))
            return isinstance(lowest, int | float) and lowest >= 0
        return name in _RECTIFIERS or (name in _COPIES and not self.may_be_negative(args[0]))

    def may_be_negative(self, tensor: Tensor) -> bool:
        return not self.noted.get(id(tensor), (tensor, False))[1]


def trace_maps(backbone: Backbone, size: Size) -> tuple[list[Size], tuple[bool, ...]]:
    """Return height and width of each map of images of a size, and whether the map may have values below 0."""
    signs = _Signs()
    with torch.no_grad(), signs:
        maps: list[Tensor] = backbone(torch.zeros(1, 3, *size))
    sizes = [(part.shape[2], part.shape[3]) for part in maps]
    return sizes, tuple(signs.may_be_negative(part) for part in maps)
