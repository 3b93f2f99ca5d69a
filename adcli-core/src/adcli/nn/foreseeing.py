"""What a batch will take, before it is computed: at least that much memory has to be free; and what a size costs."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adcli._process.memory import free_memory
from adcli.data.decoding import Size
from adcli.errors import AdcliError, LackOfMemoryError
from adcli.nn.backbones import Backbone

SMALL = 64 << 20
"""Bytes of a batch of images below which nothing is foreseen, which takes some milliseconds."""

TRIALS = 5
"""How often the time of a size is measured."""


def check_images(count: int, height: int, width: int, device: torch.device) -> None:
    """Check that a batch of images fits into what is free; raises :class:`LackOfMemoryError` if not even that does."""
    _check(4 * 3 * count * height * width, count, height, width, device)


@contextlib.contextmanager
def foreseeing(model: nn.Module) -> Iterator[None]:
    """Check each large batch, before a backbone of the model computes its maps, against the memory that is free.

    What is compared is less than what is needed: the largest step of the network, its input and its output, and nothing
    else that the model keeps. What is refused could not have been computed.

    Raises:
        LackOfMemoryError: in the context, if there is too little.
    """
    checked: set[tuple[int, ...]] = set()

    def check(backbone: nn.Module, images: tuple[Any, ...]) -> None:
        (batch,) = images
        if batch.nbytes > SMALL and tuple(batch.shape) not in checked:
            checked.add(tuple(batch.shape))
            count, _, height, width = batch.shape
            # The images themselves are there already.
            _check(least_bytes(backbone, batch) - batch.nbytes, count, height, width, batch.device)

    backbones = [module for module in model.modules() if isinstance(module, Backbone)]
    with contextlib.ExitStack() as stack:
        for backbone in backbones:
            stack.callback(backbone.register_forward_pre_hook(check).remove)
        yield


def _check(needed: int, count: int, height: int, width: int, device: torch.device) -> None:
    # A GPU says at once that it has too little; a machine without memory kills.
    free = free_memory() if device.type == "cpu" else None
    if free is not None and needed > free:
        raise LackOfMemoryError(
            f"batches of {count} images of {height}x{width} need at least {needed / 1e9:.1f} GB more, and "
            f"{free / 1e9:.1f} GB are free"
        )


def least_bytes(network: nn.Module, images: Tensor) -> int:
    """Return the bytes of inputs and outputs of the largest step of a network, computing nothing.

    Of a network that cannot be followed so, 0: it is tried.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with contextlib.suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        largest = _Largest()  # type: ignore[no-untyped-call]
        with largest:
            network.forward(fake.from_tensor(images))
        return int(largest.size)
    return 0


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how much the largest operation reads and writes."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        # What is changed in place, or seen in another shape, is there once.
        storages = {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
        self.size = max(self.size, sum(storages.values()))
        return result


def compare_sizes(model: nn.Module, size: Size, other: Size) -> float | None:
    """Return how many times as long the backbones of a model take for one image of another height and width.

    Args:
        model: in evaluation mode, on the device to compute on.
        size: height and width of its input.
        other: another height and width.

    Returns:
        None if it has no backbone, or one that takes no images of that size.
    """
    backbones = [module for module in model.modules() if isinstance(module, Backbone)]
    if not backbones:
        return None
    try:
        # In turns, so that a busy machine slows both; the first round is left out.
        rounds = [[_time(backbones, one) for one in (size, other)] for _ in range(TRIALS + 1)][1:]
    except AdcliError:
        return None
    return min(seconds for _, seconds in rounds) / min(seconds for seconds, _ in rounds)


@torch.inference_mode()
def _time(backbones: Sequence[Backbone], size: Size) -> float:
    """Return the seconds that one image takes."""
    image, start = backbones[0].mean.new_zeros(1, 3, *size), time.perf_counter()
    for backbone in backbones:
        # Waits for what a GPU computes.
        backbone(image)[-1].sum().item()
    return time.perf_counter() - start
