"""How much of a photograph a pixel of a model covers, what is said of it, and what size suits photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.coverage import choose_size, find_typical, say_coverage
from adcli.data.framing import Framing, Zone
from adcli.data.inspection import inspect_data
from adcli.data.tiling import Tiling

SQUARE = (256, 256)


def test_the_typical_part_is_that_of_most_photographs() -> None:
    sizes = [(300, 400, 5), (3000, 4000, 3), (30, 40, 1)]
    assert find_typical(sizes, Framing()) == (300, 400)
    assert find_typical(sizes, Framing(region=(0, 0, 200, 100))) == (100, 200)
    assert find_typical(sizes, Framing(region=(0, 0, 2000, 1000), crop=(100, 200))) == (100, 200)
    assert find_typical(sizes, Framing(zones=(Zone("a", (0, 0, 20, 10)), Zone("b", (0, 0, 200, 100))))) == (100, 200)


def test_photographs_that_do_not_suit_are_passed_over() -> None:
    assert find_typical([(30, 40, 9)], Framing(region=(0, 0, 200, 100))) is None
    assert find_typical([], Framing()) is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((256, 256), SQUARE),
        ((512, 512), SQUARE),
        ((500, 1243), (160, 416)),
        ((576, 768), (224, 288)),
        ((9000, 16), (2048, 32)),
    ],
)
def test_a_size_has_the_aspect_of_what_is_looked_at(part: tuple[int, int], expected: tuple[int, int]) -> None:
    assert choose_size(part, SQUARE, Framing(), 32) == expected
    assert choose_size(part[::-1], SQUARE, Framing(), 32) == expected[::-1]


@pytest.mark.parametrize("step", [14, 28, 32])
def test_a_size_keeps_the_number_of_pixels_in_steps(step: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        part = tuple(random.integers(50, 400, 2).tolist())
        height, width = choose_size((part[0], part[1]), SQUARE, Framing(), step)
        assert height % step == width % step == 0
        assert height * width / 256**2 == pytest.approx(1, rel=step / min(height, width) + 0.05)
        assert height / width / (part[0] / part[1]) == pytest.approx(1, rel=step / min(height, width) + 0.05)


def test_a_tile_has_the_aspect_of_what_it_shows() -> None:
    framing = Framing(tiling=Tiling(3, 1, 0))
    assert choose_size((300, 900), SQUARE, framing, 32) == SQUARE
    assert choose_size((300, 300), SQUARE, framing, 32) == choose_size((900, 300), SQUARE, Framing(), 32)


def test_a_coarse_look_is_said_with_what_to_do() -> None:
    hint = say_coverage((3000, 4000), SQUARE, Framing())
    assert "15.6 x 11.7 pixels of photographs, of which 4000 x 3000 are looked at" in hint
    assert "--tiles auto (9x7)" in hint
    assert say_coverage((512, 512), SQUARE, Framing()) == ""
    assert say_coverage((514, 512), SQUARE, Framing()) != ""
    assert say_coverage((3000, 4000), SQUARE, Framing(tiling=Tiling(9, 7))) == ""
    assert "--tiles" not in say_coverage((16384, 100000), SQUARE, Framing())


def test_the_check_of_data_says_it_too(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.full((600, 900, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    lines = list(inspect_data(str(tmp_path)).lines())
    (hint,) = [line for line in lines if line.startswith("hint")]
    assert "at --image-size 224x288, a pixel of the model covers 3.1 x 2.7 pixels" in hint
    for i in range(3):
        Image.fromarray(np.full((300, 400, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    assert not [line for line in inspect_data(str(tmp_path)).lines() if line.startswith("hint")]
