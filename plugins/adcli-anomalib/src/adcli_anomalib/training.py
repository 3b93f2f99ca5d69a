"""Train one of anomalib's modules as its engine does: its steps, its optimizers and its hooks, in their order.

The engine is Lightning's. What of it matters to the weights is here, so that batches, their order, progress and
interruptions are those of adcli, and no worker process is started, no file written and no signal caught.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adcli import OptionError, ProgressEvent, TrainingError
from adcli.nn import Batches

Normalise = Callable[[Tensor], Tensor]


class Loader:
    """Passes over good images, as anomalib's batches: in order, or shuffled as in an epoch."""

    def __init__(self, batches: Batches, normalise: Normalise, epoch: int | None = None) -> None:
        self.batches = batches
        self.normalise = normalise
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        from anomalib.data import ImageBatch

        for images in self.batches if self.epoch is None else self.batches.shuffled(self.epoch):
            count, _, height, width = images.shape
            labels = torch.zeros(count, dtype=torch.bool, device=images.device)
            masks = torch.zeros(count, height, width, dtype=torch.bool, device=images.device)
            yield ImageBatch(image=self.normalise(images), gt_label=labels, gt_mask=masks)


@dataclass
class Data:
    """What a module asks of its datamodule."""

    train: Loader
    val: Loader
    train_batch_size: int

    def train_dataloader(self) -> Loader:
        return self.train

    def val_dataloader(self) -> Loader:
        return self.val


@dataclass
class Trainer:
    """What a module asks of its trainer; a number that is not given is -1, as in Lightning."""

    datamodule: Data
    max_epochs: int
    max_steps: int
    train_dataloader: Loader
    current_epoch: int = 0
    global_step: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the last step has been made."""
        return self.global_step == self.max_steps


@dataclass(frozen=True)
class Optimisation:
    """What a module trains with: optimizers, and schedulers that step after epochs or after batches."""

    optimizers: list[Optimizer]
    by_epoch: list[Any]
    by_step: list[Any]


def train_peer(
    module: Any, batches: Batches, normalise: Normalise, *, epochs: int | None, steps: int | None, held_out: float
) -> None:
    """Train a module of anomalib's, from its first hook to its last; one that learns nothing is only set up.

    Args:
        module: the module.
        batches: the good images.
        normalise: maps images in [0, 1] to what the module takes.
        epochs, steps: when to end; whichever comes first. A module that fits in a number of passes says so itself.
        held_out: share of the images that is not trained on, and stands for anomalib's validation set.

    Raises:
        OptionError: neither epochs nor steps are given.
        TrainingError: the loss is not finite.
    """
    module.to(batches.session.device)
    train, val = batches.split(held_out) if held_out and batches.photographs > 1 else (batches, batches)
    data = Data(Loader(train, normalise), Loader(val, normalise), batches.batch_size)
    epochs = module.trainer_arguments.get("max_epochs", epochs)
    module.trainer = trainer = Trainer(data, epochs or -1, steps or -1, data.train)
    module.setup("fit")
    if not _learns(module):
        return
    if epochs is None and steps is None:
        raise OptionError("must be given if steps are not.", option="epochs")
    optimisation = _configure(module)
    _attach(module, optimisation)
    with torch.set_grad_enabled(bool(optimisation.optimizers)):
        module.on_train_start()
        made = _train_epochs(module, trainer, optimisation, train)
        if optimisation.optimizers:
            most = min(each for each in (trainer.max_epochs * len(train), trainer.max_steps) if each > 0)
            made = batches.session.progress.track(made, most, "training")
        for _ in made:
            pass


def _learns(module: Any) -> bool:
    from lightning.pytorch import LightningModule

    return type(module).training_step is not LightningModule.training_step


def _configure(module: Any) -> Optimisation:
    """Return what ``configure_optimizers`` asks for, in whichever of Lightning's forms it does."""
    made = module.configure_optimizers()
    pairs = made if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], (list, tuple)) else None
    if pairs:
        optimizers, schedulers = list(pairs[0]), list(pairs[1])
    else:
        several = made if isinstance(made, (list, tuple)) else [made] if made is not None else []
        optimizers = [each["optimizer"] if isinstance(each, dict) else each for each in several]
        schedulers = [each["lr_scheduler"] for each in several if isinstance(each, dict) and "lr_scheduler" in each]
    intervals = [each.get("interval", "epoch") if isinstance(each, dict) else "epoch" for each in schedulers]
    bare = [each["scheduler"] if isinstance(each, dict) else each for each in schedulers]
    of = {
        kind: [one for one, interval in zip(bare, intervals, strict=True) if interval == kind]
        for kind in ("epoch", "step")
    }
    return Optimisation(optimizers, of["epoch"], of["step"])


def _attach(module: Any, optimisation: Optimisation) -> None:
    """Give a module what Lightning's trainer would give it."""
    optimizers = optimisation.optimizers
    module.optimizers = lambda *_, **__: optimizers[0] if len(optimizers) == 1 else optimizers
    module.manual_backward = lambda loss, *arguments, **keywords: loss.backward(*arguments, **keywords)
    module.log = module.log_dict = lambda *_, **__: None


def _train_epochs(module: Any, trainer: Trainer, optimisation: Optimisation, train: Batches) -> Iterator[None]:
    """Train until the epochs or the steps are over; yields after each batch."""
    clip = module.trainer_arguments.get("gradient_clip_val") or 0
    for epoch in itertools.count():
        trainer.current_epoch = epoch
        # What is fitted in passes takes the images in order: then the same images give the same model.
        order = epoch if optimisation.optimizers else None
        trainer.train_dataloader = Loader(train, trainer.datamodule.train.normalise, order)
        module.on_train_epoch_start()
        for index, batch in enumerate(trainer.train_dataloader):
            loss = _make_step(module, batch, index, optimisation, clip)
            trainer.global_step += 1
            _report(train, trainer, optimisation, loss, index)
            yield
            if trainer.is_over:
                break
        last = trainer.is_over or epoch + 1 == trainer.max_epochs
        _end_epoch(module, optimisation, last=last)
        if last:
            return


def _make_step(module: Any, batch: Any, index: int, optimisation: Optimisation, clip: float) -> Tensor | None:
    """Train on a batch, and return the loss, if there is one."""
    takes_index = len(signature(module.training_step).parameters) > 1
    made = module.training_step(batch, index) if takes_index else module.training_step(batch)
    loss: Tensor | None = made.get("loss") if isinstance(made, dict) else made
    if loss is not None and not bool(loss.isfinite().all()):
        value = f"the loss is {float(loss.sum())} at step {index + 1} of an epoch"
        raise TrainingError(
            f"training diverged: {value}; take smaller steps, if an option of the model says how large."
        )
    if not module.automatic_optimization or not optimisation.optimizers or loss is None:
        return loss
    (optimizer,) = optimisation.optimizers
    optimizer.zero_grad()
    module.backward(loss)
    if clip:
        nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], clip)
    optimizer.step()
    for scheduler in optimisation.by_step:
        scheduler.step()
    return loss


def _end_epoch(module: Any, optimisation: Optimisation, *, last: bool) -> None:
    """Call what a module wants called after an epoch; after the last one, what it wants before a validation."""
    if module.automatic_optimization:
        for scheduler in optimisation.by_epoch:
            scheduler.step()
    if last:
        with _evaluating(module):
            module.on_validation_start()
    module.on_train_epoch_end()


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Within it, a module and its parts are in evaluation mode."""
    before = {each: each.training for each in module.modules()}
    module.eval()
    with torch.no_grad():
        yield
    for each, training in before.items():
        each.training = training


def _report(train: Batches, trainer: Trainer, optimisation: Optimisation, loss: Tensor | None, index: int) -> None:
    """Report an epoch's last step."""
    if not optimisation.optimizers or index + 1 < len(train):
        return
    event = ProgressEvent(
        "training",
        done=trainer.global_step,
        total=max(trainer.max_epochs * len(train), trainer.max_steps),
        epoch=trainer.current_epoch + 1,
        epochs=max(trainer.max_epochs, -(-trainer.max_steps // len(train))),
        loss=None if loss is None else float(loss.detach().sum()),
        learning_rate=float(optimisation.optimizers[0].param_groups[0]["lr"]),
    )
    train.session.progress.report(event)
