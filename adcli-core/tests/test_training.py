"""The training loop: an interruption changes nothing, to the bit; a loss that is no number stops it."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.errors import OptionError, RunError, TrainingError
from adcli.nn import _checkpoint
from adcli.nn._checkpoint import CHECKPOINT_FILE
from adcli.nn.batches import Batches, Session
from adcli.nn.training import _mean_loss, optimise, update_batch_norms
from adcli.progress import ProgressEvent, Silent

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "adam": lambda module: torch.optim.Adam(module.parameters(), 1e-2, betas=(0.5, 0.999)),
    "adam fused": lambda module: torch.optim.Adam(module.parameters(), 1e-2, fused=True),
    "adamw": lambda module: torch.optim.AdamW(module.parameters(), 1e-2, amsgrad=True),
    "sgd": lambda module: torch.optim.SGD(module.parameters(), 1e-2, momentum=0.9, weight_decay=1e-4),
    "sgd fused": lambda module: torch.optim.SGD(module.parameters(), 1e-2, momentum=0.9, fused=True),
}


@pytest.fixture(autouse=True)
def eager_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after every epoch."""
    monkeypatch.setattr(_checkpoint, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


class KilledError(Exception):
    """Stands for a process that is killed."""


class Trainee:
    """A network with everything that carries state: batch norm, dropout, an optimizer and a schedule; channels-last."""

    def __init__(self, optimizer: str) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 3, 1)
        ).to(memory_format=torch.channels_last)
        self.optimizer = OPTIMIZERS[optimizer](self.module)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, 0.5)
        self.steps = 0
        self.stop_at: int | None = None

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        if self.steps == self.stop_at:
            raise KilledError
        return (self.module(images) - images).square().mean()

    def train(self, paths: list[Path], folder: Path | None, epochs: int = 5) -> None:
        batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4, session=Session(checkpoints=folder))
        optimise(
            self.module,
            self.loss,
            batches,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            epochs=epochs,
            augment=lambda images, generator: images + 0.1 * torch.rand(images.shape, generator=generator),
        )


@pytest.mark.parametrize("stop_at", [5, 8, 14])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_ends_bit_for_bit_where_an_unbroken_one_does(
    paths: list[Path], tmp_path: Path, optimizer: str, stop_at: int
) -> None:
    whole = Trainee(optimizer)
    whole.train(paths, None)
    broken = Trainee(optimizer)
    broken.stop_at = stop_at
    with pytest.raises(KilledError):
        broken.train(paths, tmp_path / "checkpoints")
    resumed = Trainee(optimizer)
    torch.manual_seed(123)  # A resumed process starts with other random numbers.
    resumed.train(paths, tmp_path / "checkpoints")
    assert resumed.steps == whole.steps - 3 * ((stop_at - 1) // 3)
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name


def test_training_ends_in_evaluation_mode_and_lowers_the_loss(paths: list[Path]) -> None:
    trainee = Trainee("adam")
    images = torch.rand(4, 3, 16, 16)
    before = (trainee.module.eval()(images) - images).square().mean()
    trainee.train(paths, None, epochs=20)
    assert not trainee.module.training
    assert (trainee.module(images) - images).square().mean() < before


class Listening(Silent):
    """Progress that keeps what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[ProgressEvent] = []

    def report(self, event: ProgressEvent) -> None:
        self.events.append(event)


def test_each_epoch_reports_its_loss_and_learning_rate(paths: list[Path]) -> None:
    listening = Listening()
    batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4, session=Session(listening))
    trainee = Trainee("sgd")
    losses: list[float] = []

    def noted(images: torch.Tensor) -> torch.Tensor:
        loss = trainee.loss(images)
        losses.append(loss.item())
        return loss

    optimise(trainee.module, noted, batches, optimizer=trainee.optimizer, scheduler=trainee.scheduler, epochs=4)
    last = {event.epoch: event for event in listening.events if event.done % 3 == 0}
    assert [event.epoch for event in last.values()] == [1, 2, 3, 4]
    assert [event.loss for event in last.values()] == pytest.approx(losses[2::3])
    assert [event.learning_rate for event in last.values()] == [0.01, 0.01, 0.005, 0.005]
    assert {(event.what, event.total, event.epochs) for event in last.values()} == {("training", 12, 4)}
    assert str(last[4]) == f"epoch 4/4, loss {losses[-1]:.4g}, lr 0.005"


def test_a_loss_that_is_no_number_stops_and_says_where(paths: list[Path]) -> None:
    trainee = Trainee("sgd")
    batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4)
    with pytest.raises(TrainingError, match=r"nan at epoch 1, step 1.*learning_rate"):
        optimise(
            trainee.module, lambda images: images.sum() * float("nan"), batches, optimizer=trainee.optimizer, epochs=1
        )


def test_a_damaged_or_foreign_checkpoint_is_refused(paths: list[Path], tmp_path: Path) -> None:
    trainee = Trainee("adam")
    trainee.stop_at = 5
    with pytest.raises(KilledError):
        trainee.train(paths, tmp_path)
    content = (tmp_path / CHECKPOINT_FILE).read_bytes()
    (tmp_path / CHECKPOINT_FILE).write_bytes(content[:-50])
    with pytest.raises(RunError, match=CHECKPOINT_FILE):
        Trainee("adam").train(paths, tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(content)
    other = Trainee("adam")
    other.module = nn.Sequential(nn.Conv2d(3, 3, 1))
    other.optimizer = OPTIMIZERS["adam"](other.module)
    other.scheduler = torch.optim.lr_scheduler.StepLR(other.optimizer, 2)
    with pytest.raises(RunError, match="train again"):
        other.train(paths, tmp_path)


def test_nothing_is_left_half_written(paths: list[Path], tmp_path: Path) -> None:
    trainee = Trainee("sgd")
    trainee.train(paths, tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [CHECKPOINT_FILE]


def test_a_loss_that_yields_makes_a_step_on_each_before_the_next_is_computed(paths: list[Path]) -> None:
    trainee = Trainee("sgd")
    seen: list[torch.Tensor] = []

    def losses(images: torch.Tensor) -> Iterator[torch.Tensor]:
        for part in images.split(2):
            seen.append(next(trainee.module.parameters()).detach().clone())
            yield (trainee.module(part) - part).square().mean()

    batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4)
    optimise(trainee.module, losses, batches, optimizer=trainee.optimizer, epochs=1)
    assert len(seen) == len(paths) // 2
    assert all(not torch.equal(one, next_one) for one, next_one in pairwise(seen))


LOSSES = (3.0, 1.0, 2.0, 1.5, 4.0)
"""Of held-out images, after each epoch."""


class Watched:
    """Trains with given losses of held-out images, and remembers the weights after each epoch."""

    def __init__(self, paths: list[Path], folder: Path | None, patience: int) -> None:
        self.session = Session(NotedProgress(), checkpoints=folder, patience=patience)
        self.batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4, session=self.session)
        self.after_epoch: dict[int, dict[str, torch.Tensor]] = {}

    def train(self, trainee: Trainee, held_out: Batches | None) -> None:
        def measure(images: torch.Tensor) -> torch.Tensor:
            assert not trainee.module.training
            torch.rand(3)
            epoch = trainee.scheduler.last_epoch
            self.after_epoch[epoch] = {name: t.clone() for name, t in trainee.module.state_dict().items()}
            return torch.tensor(LOSSES[epoch - 1])

        optimise(
            trainee.module,
            trainee.loss,
            self.batches,
            optimizer=trainee.optimizer,
            scheduler=trainee.scheduler,
            epochs=5,
            held_out=held_out,
            measure=measure,
        )


class NotedProgress(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("patience", "epochs"), [(0, 5), (1, 3), (2, 4), (3, 5)])
@pytest.mark.parametrize("stop_at", [None, 4, 6])
def test_the_epoch_that_does_best_on_held_out_images_is_kept_through_an_interruption(
    paths: list[Path], tmp_path: Path, stop_at: int | None, patience: int, epochs: int
) -> None:
    watched = Watched(paths, tmp_path, patience)
    rest, held_out = watched.batches.split(0.2)
    watched.batches = rest
    if stop_at is not None:
        trainee = Trainee("adam")
        trainee.stop_at = stop_at
        with pytest.raises(KilledError):
            watched.train(trainee, held_out)
    trainee = Trainee("adam")
    watched.train(trainee, held_out)
    assert sorted(watched.after_epoch) == list(range(1, epochs + 1))
    for name, tensor in trainee.module.state_dict().items():
        assert torch.equal(tensor, watched.after_epoch[2][name]), name
    said = [f"stopped after {epochs} of 5 epochs", f"the last {patience};", "those after epoch 2."]
    assert isinstance(watched.session.progress, NotedProgress)
    notes = watched.session.progress.notes
    assert len(notes) == bool(patience)
    assert all(words in note for note in notes for words in said)


def test_what_is_measured_of_held_out_images_changes_nothing_that_is_drawn(paths: list[Path]) -> None:
    alone, watched = Trainee("adam"), Watched(paths, None, 0)
    watched.batches, held_out = watched.batches.split(0.2)
    watched.train(alone, None)
    watched.train(Trainee("adam"), held_out)
    for name, tensor in alone.module.state_dict().items():
        assert torch.equal(tensor, watched.after_epoch[5][name]), name


def test_each_held_out_image_counts_once_whatever_the_batches(paths: list[Path]) -> None:
    images = torch.cat(list(Batches(items_of(paths), ImageSource((16, 16)))))
    for size in (3, 4, 16):
        batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=size)
        assert _mean_loss(torch.mean, batches) == pytest.approx(float(images.mean()), rel=1e-5)
        assert _mean_loss(lambda part: iter([part.mean(), part.mean() + 2]), batches) == pytest.approx(
            float(images.mean()) + 1, rel=1e-5
        )


def test_a_tenth_of_the_images_is_held_out_for_patience_and_never_trained_on(paths: list[Path]) -> None:
    trainee, seen, measured = Trainee("adam"), set[bytes](), set[bytes]()

    def loss(images: torch.Tensor) -> torch.Tensor:
        (seen if trainee.module.training else measured).update(image.numpy().tobytes() for image in images)
        return (trainee.module(images) - images).square().mean()

    session = Session(patience=1)
    batches = Batches(items_of(paths), ImageSource((16, 16)), batch_size=4, session=session)
    optimise(trainee.module, loss, batches, optimizer=trainee.optimizer, epochs=2)
    assert (len(seen), len(measured)) == (9, 1)
    assert not seen & measured


def test_a_single_image_cannot_be_held_out(paths: list[Path]) -> None:
    trainee = Trainee("adam")
    batches = Batches(items_of(paths[:1]), ImageSource((16, 16)), session=Session(patience=1))
    with pytest.raises(OptionError, match="--patience holds good images out, and there is but one"):
        optimise(trainee.module, trainee.loss, batches, optimizer=trainee.optimizer, epochs=2)


def network() -> nn.Sequential:
    """Return two convolutions with batch norms, in float64."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.2), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
    ).double()


def test_settled_statistics_are_those_of_all_images_whatever_their_batches() -> None:
    """The first batch norm sees what no other has changed: its mean is that of all the images, each counted once."""
    settled, images = network(), torch.rand(10, 3, 9, 9, dtype=torch.float64)
    update_batch_norms(settled, images.split(4))
    torch.testing.assert_close(settled[1].running_mean, settled[0](images).mean(dim=(0, 2, 3)))
    assert settled[1].momentum == 0.2
    assert not settled[1].training


@torch.no_grad()
def test_a_settled_network_evaluates_as_it_trains() -> None:
    """Of one batch, whose variance counts all values but one, evaluation gives what batch statistics give."""
    settled, images = network(), torch.rand(64, 3, 9, 9, dtype=torch.float64)
    update_batch_norms(settled, [images])
    found = settled(images)
    expected = settled.train()(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_networks_of_several_maps_settle_too() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
            return self.norm(maps[0])

    settled, maps = First(), [torch.rand(6, 3, 4, 4), torch.rand(6, 5, 2, 2)]
    update_batch_norms(settled, [[part[:4] for part in maps], [part[4:] for part in maps]])
    torch.testing.assert_close(settled.norm.running_mean, maps[0].mean(dim=(0, 2, 3)))
