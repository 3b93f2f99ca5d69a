"""What keeps the copies of a module alike that several processes train; in a single process nothing here does a thing.

Each process computes the loss of its part of every batch. Gradients are averaged after backward, weighted by the
numbers of images: N processes do what one does with batches N times as large. Batch norms use the statistics of each
process's own images while they train, and have the mean of these at the end of an epoch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from adcli.errors import RunError
from adcli.nn import distributed


def start_from_first(module: nn.Module, epoch: int, device: torch.device) -> None:
    """Give all processes the first one's module.

    Args:
        module: what is trained.
        epoch: the one that this process starts at, as it may have found a checkpoint.
        device: where numbers are exchanged.

    Raises:
        RunError: the processes would start at different epochs.
    """
    if distributed.world_size() == 1:
        return
    epochs = distributed.gather(torch.tensor([epoch], device=device))
    if not bool((epochs == epoch).all()):
        raise RunError(
            "not all processes see the checkpoint to continue from; --out needs a file system that all machines share."
        )
    _exchange(list(module.state_dict().values()), distributed.broadcast)


def mean_loss(loss: Tensor | None, batch: Tensor) -> tuple[Tensor | None, float]:
    """Return the mean loss over all images of a step, and this process's share of these images.

    A process without images, or with fewer losses than others, passes None; when all do, the mean is None.
    """
    if distributed.world_size() == 1:
        return loss, 1.0
    count = 0 if loss is None else len(batch)
    weighted = batch.new_zeros(2, dtype=torch.float64)
    if loss is not None:
        weighted[0], weighted[1] = count, count * loss.detach()
    images, total = distributed.reduce_sum(weighted)
    return (total / images, count / float(images)) if images else (None, 0.0)


def average_gradients(optimizer: Optimizer, share: float) -> None:
    """Replace gradients by the sum of all processes' gradients times their shares.

    A parameter that no process's loss reached keeps no gradient, so that the optimizer leaves it alone, as it would in
    a single process.
    """
    if distributed.world_size() == 1:
        return
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    reached = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
    anywhere = distributed.reduce_sum(reached.to(parameters[0].device)).tolist()
    gradients = []
    for parameter, count in zip(parameters, anywhere, strict=True):
        if count:
            own = parameter.grad
            parameter.grad = torch.zeros_like(parameter) if own is None else own.mul_(share)
            gradients.append(parameter.grad)
    _exchange(gradients, distributed.reduce_sum)


def copy_decisions(module: nn.Module) -> None:
    """Give all processes the first one's flags and counts, on which the next step may depend."""
    if distributed.world_size() == 1:
        return
    flags = [
        buffer
        for name, buffer in module.named_buffers()
        if not buffer.is_floating_point() and not name.endswith("num_batches_tracked")
    ]
    _exchange(flags, distributed.broadcast)


def align(module: nn.Module) -> None:
    """Make all processes alike at the end of an epoch, so that all could continue from the first one's checkpoint.

    Batch norms get the mean of their statistics; everything else is the first one's, random numbers included.
    """
    if distributed.world_size() == 1:
        return
    average_statistics([part for part in module.modules() if isinstance(part, _BatchNorm)], 1)
    _exchange(list(module.state_dict().values()), distributed.broadcast)
    torch.set_rng_state(distributed.broadcast(torch.get_rng_state()))
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(distributed.broadcast(torch.cuda.get_rng_state()))


@torch.no_grad()
def average_statistics(norms: Sequence[_BatchNorm], weight: int) -> None:
    """Set the running statistics of batch norms to their weighted means over the processes."""
    statistics = [part for norm in norms for part in (norm.running_mean, norm.running_var) if part is not None]
    if distributed.world_size() == 1 or not statistics:
        return
    total = float(distributed.reduce_sum(statistics[0].new_tensor([weight], dtype=torch.float64)))
    for part in statistics:
        part.mul_(weight / total)
    _exchange(statistics, distributed.reduce_sum)


def value_of_first(value: float, device: torch.device) -> float:
    """Return the first process's value: all must take the same decision, whatever their rounding."""
    if distributed.world_size() == 1:
        return value
    return float(distributed.broadcast(torch.tensor([value], dtype=torch.float64, device=device)))


@torch.no_grad()
def _exchange(tensors: Sequence[Tensor], operation: Callable[[Tensor], Tensor]) -> None:
    """Reduce or broadcast tensors in place, those of a type in one message: many small ones would take too long."""
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = operation(torch.cat([tensor.reshape(-1) for tensor in alike]))
        for tensor, part in zip(alike, torch.split(flat, [tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))
