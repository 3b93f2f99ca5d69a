"""A device that computes on the CPU, refuses float64 as Apple's GPUs do, and refuses tensors of the CPU beside its own.

A tensor "on" it is a wrapper that claims to be on torch's device type ``lazy``, which nothing else here uses. As with a
real device, what lies on it gets off only by being moved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("lazy", 0)


class OnDevice(Tensor):
    """A tensor on the device; ``on_cpu`` is there and holds the values."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: Tensor) -> None:
        self.on_cpu = inner

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(operation, args, kwargs or {})


def compute(operation: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Carry out an operation on the CPU and put the result where it belongs."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    on_device = any(isinstance(value, OnDevice) for value in tensors)
    target = kwargs.get("device")
    to_device = on_device if target is None else torch.device(target).type == DEVICE.type
    moves = "copy" in str(operation)
    strangers = [value for value in tensors if not isinstance(value, OnDevice) and value.ndim]
    if on_device and strangers and not moves and "index" not in str(operation):
        raise RuntimeError(f"{operation}: tensors on the CPU beside those of the device")

    def unwrap(value: Any) -> Any:
        if isinstance(value, torch.device):
            return torch.device("cpu")
        return value.on_cpu if isinstance(value, OnDevice) else value

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or not to_device:
            return value
        if value.dtype == torch.float64:
            raise TypeError(f"{operation}: the device has no float64")
        known = [tensor for tensor in tensors if isinstance(tensor, OnDevice) and tensor.on_cpu is value]
        return known[0] if known else OnDevice(value)

    return tree_map(wrap, operation(*tree_map(unwrap, args), **tree_map(unwrap, kwargs)))


class _Factories(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets operations make tensors on the device from nothing, or move them there."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(operation, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Lets ``torch.tensor`` make tensors on the device, which it does beneath what dispatch modes see."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = dict(kwargs or {})
        if function is torch.tensor and torch.device(keywords.get("device") or "cpu").type == DEVICE.type:
            return torch.tensor(*args, **{**keywords, "device": "cpu"}).to(DEVICE)
        return function(*args, **keywords)


@contextmanager
def device_without_float64() -> Iterator[torch.device]:
    """Provide the device."""
    with _Factories(), _Literals():  # type: ignore[no-untyped-call]
        yield DEVICE
