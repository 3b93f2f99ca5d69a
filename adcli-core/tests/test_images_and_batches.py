"""Streams and batches: in order, bounded, repeatable, and the same whatever the threads and the cache."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from inputs import decode
from PIL import Image

from adcli.data import ImageSource, ahead, items_of
from adcli.data import source as images_module
from adcli.data.photograph import Photograph, open_photograph
from adcli.errors import DataError
from adcli.nn.batches import Batches

SIZE = (8, 12)
BYTES = 8 * 12 * 3


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twenty images, each of another grey."""
    for i in range(20):
        Image.new("L", (24, 16), 10 * i).save(tmp_path / f"{i:02}.png")
    return sorted(tmp_path.glob("*.png"))


def greys(batches: object) -> list[int]:
    """Return the images' numbers in the order in which they came."""
    return [round(float(image[0, 0, 0]) * 25.5) for batch in batches for image in batch]  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cache", [0, 5 * BYTES, 1 << 20])
def test_every_pass_gives_every_image_in_order(paths: list[Path], workers: int, cache: int) -> None:
    batches = Batches(items_of(paths), ImageSource(SIZE, workers=workers, cache_bytes=cache), batch_size=7)
    for _ in range(2):
        assert greys(batches) == list(range(20))
    assert [len(batch) for batch in batches] == [7, 7, 6]
    assert len(batches) == 3


def test_batches_are_float32_rgb_in_zero_to_one(paths: list[Path]) -> None:
    batch = next(iter(Batches(items_of(paths), ImageSource(SIZE), batch_size=4)))
    assert batch.shape == (4, 3, *SIZE)
    assert batch.dtype == torch.float32
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_the_cache_keeps_to_its_bound_and_spares_decoding(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    monkeypatch.setattr(
        images_module, "open_photograph", lambda path, **_: decoded.append(path) or open_photograph(path)
    )
    source = ImageSource(SIZE, workers=0, cache_bytes=5 * BYTES + 1)
    list(source.stream(items_of(paths)))
    assert source._cached_bytes <= 5 * BYTES + 1
    decoded.clear()
    list(source.stream(items_of(paths)))
    assert decoded == paths[5:]


def test_decoding_stays_a_bounded_number_of_images_ahead(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started, lock = [0], threading.Lock()

    def counting(path: Path, **_: object) -> Photograph:
        with lock:
            started[0] += 1
        return open_photograph(path)

    monkeypatch.setattr(images_module, "open_photograph", counting)
    monkeypatch.setattr(ahead, "AHEAD", 3)
    stream = ImageSource(SIZE, workers=2, cache_bytes=0).stream(items_of(paths))
    next(stream)
    time.sleep(0.2)
    assert started[0] <= 4
    stream.close()


def test_what_is_read_ahead_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, most, lock = [0], [0], threading.Lock()

    def load(size: int) -> bytes:
        with lock:
            waiting[0] += size
            most[0] = max(most[0], waiting[0])
        return bytes(size)

    monkeypatch.setattr(ahead, "AHEAD_BYTES", 10_000)
    for _, loaded in ahead.read_ahead([1_000] * 5 + [4_000] * 20, load, len, workers=2):
        time.sleep(0.002)
        with lock:
            waiting[0] -= len(loaded)
    assert waiting[0] == 0
    # The one in hand, and the threads' own, come on top.
    assert most[0] <= 10_000 + 3 * 4_000


@pytest.mark.parametrize("workers", [0, 2])
def test_an_endless_list_is_taken_from_only_as_far_as_it_is_needed(paths: list[Path], workers: int) -> None:
    taken = []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(len(taken))
            yield paths[len(taken) % len(paths)]

    stream = ImageSource(SIZE, workers=workers).photographs(endless())
    for _ in range(5):
        next(stream)
    assert len(taken) <= 5 + ahead.AHEAD


def test_an_unreadable_image_is_raised_or_collected(paths: list[Path]) -> None:
    paths[3].write_text("no image")
    with pytest.raises(DataError, match=r"03\.png"):
        list(ImageSource(SIZE).stream(items_of(paths)))
    source = ImageSource(SIZE, skip_unreadable=True)
    assert len(list(source.stream(items_of(paths)))) == 19
    assert list(source.skipped) == [str(paths[3])]


def test_shuffled_epochs_depend_on_seed_and_epoch_alone(paths: list[Path]) -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return greys(Batches(items_of(paths), ImageSource(SIZE), batch_size=6, seed=seed).shuffled(number))

    assert sorted(epoch(1, 0)) == list(range(20))
    assert epoch(1, 3) == epoch(1, 3)
    assert epoch(1, 3) != epoch(1, 4)
    assert epoch(1, 3) != epoch(2, 3)


def test_augmentation_draws_from_the_epochs_own_generator(paths: list[Path]) -> None:
    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return images + torch.rand(len(images), 1, 1, 1, generator=generator)

    batches = Batches(items_of(paths), ImageSource(SIZE), batch_size=6)
    first, again = (torch.cat(list(batches.shuffled(2, augment=augment))) for _ in range(2))
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, torch.cat(list(batches.shuffled(2))))


@pytest.mark.parametrize(("share", "held_out"), [(0.1, 2), (0.5, 10), (0.0, 1), (1.0, 19)])
def test_a_split_is_disjoint_complete_and_never_empty(paths: list[Path], share: float, held_out: int) -> None:
    rest, part = Batches(items_of(paths), ImageSource(SIZE)).split(share)
    assert part.count == held_out
    assert sorted(rest.items + part.items) == items_of(paths)
    assert Batches(items_of(paths), ImageSource(SIZE)).split(share)[1].items == part.items


def test_pixels_are_those_of_decode(paths: list[Path]) -> None:
    for item, image in ImageSource(SIZE, workers=3).stream(items_of(paths)):
        np.testing.assert_array_equal(image.pixels, decode(item.path, SIZE).pixels)
