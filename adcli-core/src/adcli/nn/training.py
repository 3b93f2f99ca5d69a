"""What models trained by gradient descent share: the loop, with progress, checkpoints and a guard; batch statistics.

Over several processes, each computes the loss of its part of every batch, and gradients are averaged after backward,
weighted by the numbers of images: N processes do what one does with batches N times as large. Batch norms use the
statistics of each process's own images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from adcli.errors import RunError, TrainingError
from adcli.nn import distributed
from adcli.nn._checkpoint import _save_at_times, _State, load_checkpoint
from adcli.nn.batches import Augmentation, Session

Batch = TypeVar("Batch", bound=Tensor | Sequence[Tensor])
Batch_co = TypeVar("Batch_co", bound=Tensor | Sequence[Tensor], covariant=True)


class Epochs(Protocol[Batch_co]):
    """What is trained on: :class:`adcli.nn.batches.Batches`, or :class:`adcli.nn.features.FrozenFeatures` of them.

    A batch is a tensor of N rows, or several of the same N images.
    """

    @property
    def session(self) -> Session:
        """What the core provides."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[Batch_co]:
        """Yield the batches of an epoch, in an order that depends on nothing but its number and the seed."""

    def sharded(self) -> "Epochs[Batch_co]":
        """Return this process's part: as many batches of an epoch in each, of which the last may be empty."""


Loss = Callable[[Batch], Tensor | Iterator[Tensor]]
"""Maps a batch to a scalar; or yields several, and a step is made on each before the next is computed."""


def optimise(
    module: nn.Module,
    loss: Loss[Batch],
    batches: Epochs[Batch],
    *,
    optimizer: Optimizer,
    epochs: int,
    scheduler: LRScheduler | None = None,
    augment: Augmentation | None = None,
    validate: Callable[[], float] | None = None,
) -> None:
    """Train a module on shuffled epochs; an interrupted training continues to the bit where it would have ended.

    Over several processes, each trains on its part of every batch, and all end with the same module.

    Args:
        module: what is trained, and what a checkpoint holds; a frozen backbone does not belong in it.
        loss: what is minimised, for a batch; of images, (N, 3, H, W).
        batches: the good images; its session says where checkpoints go and in which precision to compute.
        optimizer: over the module's parameters.
        epochs: passes over the images.
        scheduler: stepped after each epoch.
        augment: applied to each batch.
        validate: called after each epoch, in evaluation mode; the module ends as it was where this was lowest. Of
            several processes, the first one's value decides.

    Raises:
        TrainingError: the loss is no finite number.
        RunError: a checkpoint is damaged, or of another training.
    """
    session = batches.session
    state = _State(module, optimizer, scheduler, session)
    first = load_checkpoint(state.checkpoint, state) if state.checkpoint and state.checkpoint.exists() else 0
    if distributed.world_size() > 1:
        batches = batches.sharded()
        _start_alike(state, first, session.device)

    module.train()
    steps = _steps(state, loss, batches, range(first, epochs), augment, validate)
    for _ in session.progress.track(steps, (epochs - first) * len(batches), "training"):
        pass
    if state.best:
        module.load_state_dict(state.best)
    module.eval()


@torch.no_grad()
def settle(network: nn.Module, inputs: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """Set the running statistics of batch norms to their means over a network's inputs, weights unchanged.

    Training leaves a moving average that lags behind the weights, so that evaluation computes with statistics of no
    network that ever was; these are the last network's. (Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, arXiv
    2105.07576, section 3: precise batch norm. Here batches weigh as many images as they have.)

    Over several processes, the means are over the inputs of all.

    Args:
        network: is left in evaluation mode.
        inputs: batches of N images or feature maps, or of several maps of the same N images each.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    seen = 0
    for batch in inputs:
        count = len(_first_of(batch))
        if count == 0:
            continue
        seen += count
        for norm in norms:
            norm.momentum = count / seen
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    _average_statistics(norms, seen)
    network.eval()


def _steps(
    state: _State,
    loss: Loss[Batch],
    batches: Epochs[Batch],
    epochs: range,
    augment: Augmentation | None,
    validate: Callable[[], float] | None,
) -> Iterator[None]:
    """Train on the batches of epochs; yields after each."""
    for epoch in epochs:
        for step, batch in enumerate(batches.shuffled(epoch, augment=augment)):
            _learn(state, loss, batch, batches.session.precision, f"epoch {epoch + 1}, step {step + 1}")
            yield
        _end_epoch(state, validate)
        if epoch + 1 < epochs.stop:
            _save_at_times(state, epoch + 1)


def _learn(state: _State, loss: Loss[Batch], batch: Batch, precision: torch.dtype, where: str) -> None:
    """Make the steps of a batch."""
    first = _first_of(batch)
    losses = _losses(loss, batch)
    while True:
        state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(first.device.type, precision, enabled=precision != torch.float32):
            value = next(losses, None)
        total, share = _joined(value, first)
        if total is None:
            return
        if not torch.isfinite(total):
            raise TrainingError(f"training diverged: the loss is {total.item()} at {where}; lower -o learning_rate=.")
        if value is not None:
            state.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        if distributed.world_size() > 1:
            _average_gradients(state.optimizer, share)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if distributed.world_size() > 1:
            _copy_decisions(state.module)


def _joined(value: Tensor | None, batch: Tensor) -> tuple[Tensor | None, float]:
    """Return the mean loss over all processes, and this one's share in it; None where no process has another loss."""
    if distributed.world_size() == 1:
        return value, 1.0
    count = 0 if value is None else len(batch)
    weighted = batch.new_zeros(2, dtype=torch.float64)
    if value is not None:
        weighted[0], weighted[1] = count, count * value.detach()
    images, total = distributed.reduce_sum(weighted)
    return (total / images, count / float(images)) if images else (None, 0.0)


def _average_gradients(optimizer: Optimizer, share: float) -> None:
    """Add up all processes' gradients times their shares; a parameter that no loss reached keeps none."""
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    reached = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
    anywhere = distributed.reduce_sum(reached.to(parameters[0].device)).tolist()
    found = [parameter for parameter, count in zip(parameters, anywhere, strict=True) if count]
    for parameter in found:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.mul_(share)
    _together([parameter.grad for parameter in found if parameter.grad is not None], distributed.reduce_sum)


@torch.no_grad()
def _together(tensors: Sequence[Tensor], join: Callable[[Tensor], Tensor]) -> None:
    """Join tensors over the processes, in place, as one for each type: many small ones would take many messages."""
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = join(torch.cat([tensor.reshape(-1) for tensor in alike]))
        for tensor, part in zip(alike, torch.split(flat, [tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _start_alike(state: _State, first: int, device: torch.device) -> None:
    """Give all processes the first one's module; they go on from one checkpoint or from none."""
    found = distributed.gather(torch.tensor([first], device=device))
    if not bool((found == first).all()):
        raise RunError(
            "not all processes see the checkpoint to continue from; --out needs a file system that all machines share."
        )
    _together(list(state.module.state_dict().values()), distributed.broadcast)


def _align(module: nn.Module) -> None:
    """Make all processes alike at the end of an epoch: batch norms have the mean of their statistics, the rest the
    first one's, random numbers included, so that all could go on from its checkpoint.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    _average_statistics(norms, 1)
    _together(list(module.state_dict().values()), distributed.broadcast)
    torch.set_rng_state(distributed.broadcast(torch.get_rng_state()))
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(distributed.broadcast(torch.cuda.get_rng_state()))


@torch.no_grad()
def _average_statistics(norms: Sequence[nn.modules.batchnorm._BatchNorm], weight: int) -> None:
    """Set the running statistics of batch norms to their weighted means over the processes."""
    statistics = [part for norm in norms for part in (norm.running_mean, norm.running_var) if part is not None]
    if distributed.world_size() == 1 or not statistics:
        return
    total = float(distributed.reduce_sum(statistics[0].new_tensor([weight], dtype=torch.float64)))
    for part in statistics:
        part.mul_(weight / total)
    _together(statistics, distributed.reduce_sum)


def _copy_decisions(module: nn.Module) -> None:
    """Give all processes the first one's flags and counts, on which the next step may depend."""
    flags = [
        buffer
        for name, buffer in module.named_buffers()
        if not buffer.is_floating_point() and not name.endswith("num_batches_tracked")
    ]
    _together(flags, distributed.broadcast)


def _losses(loss: Loss[Batch], batch: Batch) -> Iterator[Tensor]:
    if len(_first_of(batch)) == 0:
        return
    values = loss(batch)
    if isinstance(values, Tensor):
        yield values
    else:
        yield from values


def _first_of(batch: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a tensor with as many rows as a batch has images."""
    return batch if isinstance(batch, Tensor) else batch[0]


def _end_epoch(state: _State, validate: Callable[[], float] | None) -> None:
    """Make all processes alike, step the schedule, and copy the module if it does better than ever."""
    if distributed.world_size() > 1:
        _align(state.module)
    if state.scheduler is not None:
        state.scheduler.step()
    if validate is None:
        return
    state.module.eval()
    with torch.no_grad():
        found = _first_ones(validate(), state)
    state.module.train()
    if found < state.lowest:
        state.lowest = found
        state.best = {name: tensor.detach().clone() for name, tensor in state.module.state_dict().items()}


def _first_ones(value: float, state: _State) -> float:
    """Return the first process's value: all must choose the same epoch, whatever their rounding."""
    if distributed.world_size() == 1:
        return value
    device = next(iter(state.module.state_dict().values())).device
    return float(distributed.broadcast(torch.tensor([value], dtype=torch.float64, device=device)))
