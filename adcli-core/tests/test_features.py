"""Features computed once are the network's own, whatever part of them is kept; the memory they take has a bound."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.errors import DataError
from adcli.nn import _checkpoint
from adcli.nn.batches import Batches, Session
from adcli.nn.features import FrozenFeatures
from adcli.nn.training import optimise

COUNT, SIZE = 10, (16, 12)
EACH = 4 * (3 * 4 * 3 + 16 * 12)
"""Bytes of an image's maps."""

BOUNDS = {"nothing": 0, "less than one": EACH - 1, "some": 4 * EACH + 1, "all": COUNT * EACH}


class Pools(nn.Module):
    """Two maps of an image, scaled: arithmetic whose rounding does not depend on the other images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.append(len(images))
        return [self.scale * F.avg_pool2d(images, 4), self.scale * images[:, :1]]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    for i in range(COUNT):
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


def batches_of(paths: list[Path], part: tuple[int, int] = (0, 1), session: Session | None = None) -> Batches:
    return Batches(items_of(paths), ImageSource(SIZE), batch_size=4, seed=7, part=part, session=session)


@pytest.mark.parametrize("part", [(0, 1), (0, 2), (1, 2), (2, 3)])
@pytest.mark.parametrize("bound", BOUNDS)
def test_features_are_the_networks_own_maps(paths: list[Path], bound: str, part: tuple[int, int]) -> None:
    batches, network = batches_of(paths, part), Pools()
    features = FrozenFeatures(network, batches, BOUNDS[bound])
    assert len(features) == len(batches)
    for epoch in range(2):
        for found, images in zip(features.shuffled(epoch), batches.shuffled(epoch), strict=True):
            for one, expected in zip(found, network(images), strict=True):
                assert torch.equal(one, expected)
                assert one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bound", BOUNDS)
def test_images_come_first_where_they_are_asked_for(paths: list[Path], bound: str) -> None:
    batches = batches_of(paths)
    features = FrozenFeatures(Pools(), batches, BOUNDS[bound], with_images=True)
    for (images, *maps), expected in zip(features.shuffled(1), batches.shuffled(1), strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(maps[1], 3 * images[:, :1])


def test_what_fits_is_computed_once_and_the_rest_in_every_epoch(paths: list[Path]) -> None:
    for bound, once, anew in (("nothing", 0, COUNT), ("some", 4, COUNT - 4), ("all", COUNT, 0)):
        network = Pools()
        features = FrozenFeatures(network, batches_of(paths), BOUNDS[bound])
        # A blank image gives the maps' shapes.
        assert sum(network.seen) == 1 + once
        for epoch in range(3):
            network.seen.clear()
            list(features.shuffled(epoch))
            assert sum(network.seen) == anew


def test_images_whose_features_are_kept_are_not_read_again(paths: list[Path]) -> None:
    features = FrozenFeatures(Pools(), Batches(items_of(paths), ImageSource(SIZE, cache_bytes=0)), BOUNDS["all"])
    for path in paths:
        path.unlink()
    assert sum(len(maps[0]) for maps in features.shuffled(0)) == COUNT


@pytest.mark.parametrize("memory", [-1, 0, 1, EACH - 1, EACH, 3 * EACH - 1, COUNT * EACH, 10**9])
def test_the_memory_held_never_passes_the_bound(paths: list[Path], memory: int) -> None:
    features = FrozenFeatures(Pools(), batches_of(paths), memory)
    held = sum(part.untyped_storage().nbytes() for part in features._maps)
    assert held == EACH * min(max(memory, 0) // EACH, COUNT)


@pytest.mark.parametrize("bound", BOUNDS)
def test_parts_of_features_are_those_of_the_parts_of_their_images(paths: list[Path], bound: str) -> None:
    network, batches = Pools(), batches_of(paths)
    features = FrozenFeatures(network, batches, BOUNDS[bound])
    kept, seen = features.kept, sum(network.seen)
    parts = features.split(0.3)
    assert sum(part.kept for part in parts) == kept
    for part, images in zip(parts, batches.split(0.3), strict=True):
        assert len(part) == len(images)
        for found, expected in zip(part.shuffled(1), images.shuffled(1), strict=True):
            assert torch.equal(found[0], network(expected)[0])
            seen += len(expected)
    assert sum(network.seen) - seen == COUNT - kept


def test_vectors_can_be_kept_too(paths: list[Path]) -> None:
    batches = batches_of(paths)
    features = FrozenFeatures(lambda images: [images.flatten(1)], batches, 4 * 4 * 3 * SIZE[0] * SIZE[1])
    assert features.kept == 4
    for (found,), images in zip(features.shuffled(0), batches.shuffled(0), strict=True):
        assert torch.equal(found, images.flatten(1))


class KilledError(Exception):
    """Stands for a process that is killed."""


def trained(paths: list[Path], memory: int, folder: Path | None = None, stop_at: int | None = None) -> Tensor:
    """Return the weights of a convolution trained on features for five epochs of three steps."""
    torch.manual_seed(0)
    student = nn.Conv2d(3, 1, 3, padding=1)
    network, steps = Pools(), iter(range(1, 1000))

    def loss(maps: list[Tensor]) -> Tensor:
        if next(steps) == stop_at:
            raise KilledError
        return (F.interpolate(student(maps[0]), size=SIZE) - maps[1]).square().mean()

    optimizer = torch.optim.SGD(student.parameters(), 1e-2, momentum=0.9)
    features = FrozenFeatures(network, batches_of(paths, session=Session(checkpoints=folder)), memory)
    optimise(student, loss, features, optimizer=optimizer, epochs=5)
    assert network.scale.grad is None
    return student.weight.detach()


def test_training_is_the_same_to_the_bit_whatever_is_kept(paths: list[Path]) -> None:
    found = [trained(paths, memory) for memory in BOUNDS.values()]
    assert all(torch.equal(one, other) for one, other in pairwise(found))


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_resumed_training_is_the_same_to_the_bit(
    paths: list[Path], tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checkpoint, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        trained(paths, BOUNDS[bound], tmp_path / "checkpoints", stop_at=8)
    resumed = trained(paths, BOUNDS[bound], tmp_path / "checkpoints")
    assert torch.equal(resumed, trained(paths, BOUNDS[bound]))


def test_what_is_computed_again_does_not_depend_on_the_epochs_before(paths: list[Path]) -> None:
    """A real network rounds by the number of images computed together: a resumed training must meet the same."""

    def calls(epochs: tuple[int, ...]) -> list[int]:
        network = Pools()
        features = FrozenFeatures(network, batches_of(paths), BOUNDS["some"])
        for epoch in epochs:
            network.seen.clear()
            list(features.shuffled(epoch))
        return network.seen

    assert calls((0, 1, 2)) == calls((2,))


def test_augmented_images_are_refused(paths: list[Path]) -> None:
    features = FrozenFeatures(Pools(), batches_of(paths), 0)
    with pytest.raises(ValueError, match="augmented"):
        next(features.shuffled(0, augment=lambda images, generator: images))


@pytest.mark.parametrize("count", [9, 10])
def test_an_image_that_is_gone_ends_the_epoch_and_is_never_paired_with_anothers_maps(
    paths: list[Path], count: int
) -> None:
    """Of nine images in batches of four, the last batch is gone altogether."""
    source = ImageSource(SIZE, cache_bytes=0, skip_unreadable=True)
    batches = Batches(items_of(paths[:count]), source, batch_size=4)
    features = FrozenFeatures(Pools(), batches, BOUNDS["some"], with_images=True)
    paths[6].unlink()
    with pytest.raises(DataError, match=r"6\.png"):
        exhaust(features.shuffled(0))
    paths[2].unlink()
    with pytest.raises(DataError, match=r"2\.png"):
        FrozenFeatures(Pools(), batches, BOUNDS["some"])


def exhaust(steps: Iterator[list[Tensor]]) -> None:
    for _ in steps:
        pass
