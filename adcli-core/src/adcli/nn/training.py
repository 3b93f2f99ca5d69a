"""What models trained by gradient descent share: the loop, with progress, checkpoints and a guard; batch statistics."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from adcli.errors import OptionError, TrainingError
from adcli.nn import _replicas, distributed
from adcli.nn._checkpoint import TrainingState, load_checkpoint, save_if_due
from adcli.nn.batches import Augmentation, Session
from adcli.progress import ProgressEvent

Batch = TypeVar("Batch", bound=Tensor | Sequence[Tensor])
Batch_co = TypeVar("Batch_co", bound=Tensor | Sequence[Tensor], covariant=True)


HELD_OUT = 0.1
"""Share of the images that is not trained on if the training is to stop by itself."""

REPORT_SECONDS = 0.5
"""How often the loss is read and reported within an epoch, at most."""


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

    def split(self, share: float, /) -> "tuple[Epochs[Batch_co], Epochs[Batch_co]]":
        """Return two parts that share no photograph: the larger rest, and a share of at least one."""

    def sharded(self) -> "Epochs[Batch_co]":
        """Return this process's part of each epoch.

        Every process gets equally many batches, since all make each step together; the last may be empty.
        """


Loss = Callable[[Batch], Tensor | Iterator[Tensor]]
"""Maps a batch to a scalar; or yields several scalars: a step is made on each before the next is computed."""


def optimise(
    module: nn.Module,
    loss: Loss[Batch],
    batches: Epochs[Batch],
    *,
    optimizer: Optimizer,
    epochs: int,
    scheduler: LRScheduler | None = None,
    augment: Augmentation | None = None,
    held_out: Epochs[Batch] | None = None,
    measure: Loss[Batch] | None = None,
) -> None:
    """Train a module on shuffled epochs; an interrupted training ends with the same bits as an uninterrupted one.

    Over several processes, each trains on its part of every batch, and all end with the same module
    (:mod:`adcli.nn._replicas`).

    Args:
        module: what is trained, and what a checkpoint holds; a frozen backbone does not belong in it.
        loss: what is minimised, for a batch; of images, (N, 3, H, W).
        batches: the good images; its session says where checkpoints go and in which precision to compute.
        optimizer: over the module's parameters.
        epochs: passes over the images.
        scheduler: stepped after each epoch.
        augment: applied to each batch.
        held_out: images that are not trained on; the module ends as it was after the epoch in which their mean loss,
            in evaluation mode, was lowest. Of several processes, the first one's value decides. If the user gave
            ``--patience``, a tenth of the images is held out unless some are already, and the training stops when
            their loss has not fallen for so many epochs.
        measure: what is measured of these, if it is not the loss.

    Raises:
        OptionError: ``--patience``, and no images can be held out.
        TrainingError: the loss is not finite.
        RunError: a checkpoint is damaged, or belongs to another training.
    """
    session = batches.session
    if session.patience and held_out is None:
        batches, held_out = _hold_out(batches)
    state = TrainingState(module, optimizer, scheduler, session)
    first = load_checkpoint(state.checkpoint, state) if state.checkpoint and state.checkpoint.exists() else 0
    if distributed.world_size() > 1:
        batches = batches.sharded()
    _replicas.start_from_first(module, first, session.device)

    module.train()
    validate = None if held_out is None else partial(_mean_loss, measure or loss, held_out)
    steps = _train_epochs(state, loss, batches, range(first, epochs), augment, validate)
    for _ in session.progress.track(steps, (epochs - first) * len(batches), "training"):
        pass
    if state.best:
        module.load_state_dict(state.best)
    module.eval()


def _train_epochs(
    state: TrainingState,
    loss: Loss[Batch],
    batches: Epochs[Batch],
    epochs: range,
    augment: Augmentation | None,
    validate: Callable[[], float] | None,
) -> Iterator[None]:
    """Train on the batches of epochs; yields after each batch."""
    guard = _Guard(batches.session.device)
    reported = time.monotonic()
    for epoch in epochs:
        for step, batch in enumerate(batches.shuffled(epoch, augment=augment)):
            _train_on(batch, loss, state, batches.session.precision, guard, f"epoch {epoch + 1}, step {step + 1}")
            if step + 1 == len(batches) or time.monotonic() - reported > REPORT_SECONDS:
                _report(batches, state, guard.latest, epochs, epoch, step)
                reported = time.monotonic()
            yield
        guard.check()
        _replicas.align(state.module)
        if state.scheduler is not None:
            state.scheduler.step()
        if validate is not None:
            _keep_best(state, validate, batches.session.device)
        if 0 < batches.session.patience <= state.waited:
            _tell_stop(batches.session, epoch + 1, epoch + 1 - state.waited, epochs.stop)
            return
        if epoch + 1 < epochs.stop:
            save_if_due(state, epoch + 1)


def _report(
    batches: Epochs[Batch], state: TrainingState, loss: Tensor | None, epochs: range, epoch: int, step: int
) -> None:
    """Report a step; to read the loss, the program waits for the device, which is why this is not done at each."""
    event = ProgressEvent(
        "training",
        done=(epoch - epochs.start) * len(batches) + step + 1,
        total=len(epochs) * len(batches),
        epoch=epoch + 1,
        epochs=epochs.stop,
        loss=None if loss is None else float(loss),
        learning_rate=float(state.optimizer.param_groups[0]["lr"]),
    )
    batches.session.progress.report(event)


def _train_on(
    batch: Batch, loss: Loss[Batch], state: TrainingState, precision: torch.dtype, guard: "_Guard", where: str
) -> None:
    """Make a step on each loss of a batch."""
    first = _first_tensor(batch)
    losses = _losses(loss, batch)
    while True:
        state.optimizer.zero_grad(set_to_none=True)
        with nullcontext() if precision == torch.float32 else torch.autocast(first.device.type, precision):
            value = next(losses, None)
        mean, share = _replicas.mean_loss(value, first)
        if mean is None:
            return
        guard.watch(mean, where)
        # Without an image of its own, a process still takes part in the others' step.
        if value is not None:
            state.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        _replicas.average_gradients(state.optimizer, share)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        _replicas.copy_decisions(state.module)


def _losses(loss: Loss[Batch], batch: Batch) -> Iterator[Tensor]:
    if len(_first_tensor(batch)) == 0:
        return
    values = loss(batch)
    if isinstance(values, Tensor):
        yield values
    else:
        yield from values


def _first_tensor(batch: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a tensor with as many rows as a batch has images."""
    return batch if isinstance(batch, Tensor) else batch[0]


class _Guard:
    """Stops a training whose loss is not finite: at once on the CPU, within some steps on other devices.

    To look at a number, a program waits until the device has computed it, and the device then waits for the program.
    """

    def __init__(self, device: torch.device) -> None:
        self.patience = 1 if device.type == "cpu" else 64
        self.losses: list[tuple[Tensor, str]] = []
        self.latest: Tensor | None = None

    def watch(self, loss: Tensor, where: str) -> None:
        """Take note of a loss, and of the step it belongs to."""
        self.latest = loss.detach()
        self.losses.append((self.latest, where))
        if len(self.losses) == self.patience:
            self.check()

    def check(self) -> None:
        """Raise :class:`TrainingError` if a loss since the last check is not finite."""
        losses, self.losses = self.losses, []
        if not losses or bool(torch.stack([loss for loss, _ in losses]).isfinite().all()):
            return
        value, where = next((float(loss), where) for loss, where in losses if not bool(loss.isfinite()))
        raise TrainingError(f"training diverged: the loss is {value} at {where}; lower -o learning_rate=.")


def _hold_out(batches: Epochs[Batch]) -> tuple[Epochs[Batch], Epochs[Batch]]:
    rest, held_out = batches.split(HELD_OUT)
    if len(held_out) == 0:
        raise OptionError("holds good images out, and there is but one; leave it out.", option="--patience")
    return rest, held_out


def _mean_loss(loss: Loss[Batch], held_out: Epochs[Batch]) -> float:
    """Return the mean loss of images, each counted once; what is drawn at random is the same each time."""
    values, count = [], 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for batch in held_out.shuffled(0):
            size = len(_first_tensor(batch))
            values.append(torch.stack(list(_losses(loss, batch))).mean() * size)
            count += size
    return float(torch.stack(values).sum()) / count


def _tell_stop(session: Session, trained: int, kept: int, of: int) -> None:
    session.stopped.update(trained=trained, kept=kept)
    session.progress.note(
        f"stopped after {trained} of {of} epochs: the loss of images that are not trained on has not fallen in the "
        f"last {trained - kept}; the weights are those after epoch {kept}."
    )


def _keep_best(state: TrainingState, validate: Callable[[], float], device: torch.device) -> None:
    """Validate the module, and copy it if it does better than ever before."""
    state.module.eval()
    with torch.no_grad():
        value = _replicas.value_of_first(validate(), device)
    state.module.train()
    state.waited += 1
    if value < state.lowest:
        state.lowest, state.waited = value, 0
        state.best = {name: tensor.detach().clone() for name, tensor in state.module.state_dict().items()}


@torch.no_grad()
def update_batch_norms(network: nn.Module, inputs: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """Set the running statistics of batch norms to their means over a network's inputs; weights do not change.

    Training leaves a moving average that lags behind the weights. This is precise batch norm (Wu and Johnson,
    Rethinking "Batch" in BatchNorm, 2021, arXiv 2105.07576, section 3), except that batches are weighted by their
    numbers of images.

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
        count = len(_first_tensor(batch))
        if count == 0:
            continue
        seen += count
        # With this momentum, the moving average is the mean over all images seen.
        for norm in norms:
            norm.momentum = count / seen
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    _replicas.average_statistics(norms, seen)
    network.eval()
