"""The parts of several processes are all images, each once, in equally many steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn.batches import Batches

PROCESSES = [1, 2, 3]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty images, each of another grey."""
    folder = tmp_path_factory.mktemp("greys")
    for i in range(20):
        Image.new("L", (16, 16), 10 * i).save(folder / f"{i:02}.png")
    return sorted(folder.glob("*.png"))


def parts(paths: list[Path], of: int, batch_size: int = 2) -> list[Batches]:
    """Return the batches of each of several processes."""
    source = ImageSource((16, 16), workers=0)
    return [Batches(items_of(paths), source, batch_size=batch_size, seed=5, part=(i, of)) for i in range(of)]


def numbers(images: torch.Tensor) -> list[int]:
    """Return the numbers of the images of a batch."""
    return [round(float(image[0, 0, 0]) * 25.5) for image in images]


@pytest.mark.parametrize("of", PROCESSES)
@pytest.mark.parametrize("count", [3, 7, 12, 20])
def test_ordered_parts_joined_are_all_images_in_order(paths: list[Path], count: int, of: int) -> None:
    split = parts(paths[:count], of)
    shares = [[number for images in part for number in numbers(images)] for part in split]
    assert [number for share in shares for number in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [part.count for part in split] == [count] * of


@pytest.mark.parametrize("of", PROCESSES)
@pytest.mark.parametrize("count", [3, 7, 12, 20])
def test_an_epoch_gives_every_image_once_in_equally_many_steps(paths: list[Path], count: int, of: int) -> None:
    epochs = [list(part.shuffled(3)) for part in parts(paths[:count], of)]
    assert len({len(steps) for steps in epochs}) == 1
    assert sorted(number for steps in epochs for images in steps for number in numbers(images)) == list(range(count))


@pytest.mark.parametrize("of", [2, 3])
@pytest.mark.parametrize("count", [7, 12, 20])
def test_a_step_of_several_processes_has_the_images_of_one_large_batch(paths: list[Path], count: int, of: int) -> None:
    (whole,) = parts(paths[:count], 1, batch_size=2 * of)
    together = zip(*(part.shuffled(3) for part in parts(paths[:count], of)), strict=True)
    for one, several in zip(whole.shuffled(3), together, strict=True):
        assert numbers(one) == [number for images in several for number in numbers(images)]


def test_the_first_process_is_never_without_images(paths: list[Path]) -> None:
    steps = [list(part.shuffled(0)) for part in parts(paths[:7], 3)]
    assert [[len(images) for images in process] for process in steps] == [[2, 1], [2, 0], [2, 0]]
    assert steps[1][1].shape == (0, 3, 16, 16)


def test_splits_are_alike_in_all_processes(paths: list[Path]) -> None:
    (first, second) = (part.split(0.3) for part in parts(paths, 2))
    assert [half.items for half in first] == [half.items for half in second]
    assert [half.part for half in second] == [(1, 2), (1, 2)]


def test_each_process_augments_in_its_own_way_and_repeatably(paths: list[Path]) -> None:
    def noise(part: Batches) -> torch.Tensor:
        def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(len(images), 1, generator=generator)

        return torch.cat(list(part.shuffled(1, augment=augment)))

    first, second = parts(paths, 2)
    assert torch.equal(noise(second), noise(second))
    assert not torch.equal(noise(first), noise(second))


def test_in_a_single_process_the_part_is_everything(paths: list[Path]) -> None:
    (whole,) = parts(paths, 1)
    np.testing.assert_array_equal(torch.cat(list(whole.sharded())), torch.cat(list(whole)))
    assert len(whole.sharded()) == len(whole) == 10
