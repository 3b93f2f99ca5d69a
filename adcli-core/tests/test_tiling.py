"""Tiles: how photographs are cut, how maps of tiles become one, and what a fit and a score see of them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data import ImageSource, Item, items_of
from adcli.data import source as source_module
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, open_photograph
from adcli.data.tiling import DENSE, MOST, Tiling, choose_tiles, parse_tiles
from adcli.errors import OptionError
from adcli.nn.batches import Batches
from adcli.scoring.parts import TiledRuntime, in_batches_of_parts, of_parts
from adcli.scoring.runtime import ImageBatch, Scored

SIZE = (16, 24)
TILINGS = [Tiling(3, 2), Tiling(1, 4, 0), Tiling(5, 3, 0.5), Tiling(2, 2, 0.29)]


@pytest.mark.parametrize("size", [SIZE, (15, 17), (1, 1)])
@pytest.mark.parametrize("tiling", TILINGS)
def test_maps_that_are_parts_of_one_are_that_one(tiling: Tiling, size: tuple[int, int]) -> None:
    whole = np.random.default_rng(0).normal(10, 3, (*tiling.find_canvas(size), 3)).astype(np.float32)
    maps = np.stack([tiling.cut(whole, size, i)[:, :, 0] for i in range(len(tiling))])
    assert maps.shape == (len(tiling), *size)
    np.testing.assert_allclose(tiling.blend(maps), whole[:, :, 0], rtol=3e-7)


@pytest.mark.parametrize("tiling", TILINGS)
def test_tiles_cover_the_canvas_and_overlap_as_said(tiling: Tiling) -> None:
    canvas = tiling.find_canvas(SIZE)
    pixels = np.arange(canvas[0] * canvas[1]).reshape(*canvas, 1)
    seen = [set(tiling.cut(pixels, SIZE, i).ravel().tolist()) for i in range(len(tiling))]
    assert set().union(*seen) == set(range(pixels.size))
    for left, right in pairwise(range(tiling.columns)):
        common = len(seen[left] & seen[right]) / SIZE[0]
        assert common == pytest.approx(tiling.overlap * SIZE[1], abs=0.5)


def test_a_map_fades_from_one_tile_to_the_next_without_a_step() -> None:
    tiling = Tiling(2, 1, 0.25)
    maps = np.stack([np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)])
    line = tiling.blend(maps)[0]
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() < 0.3
    assert (line[:18] == 0).all()
    assert (line[24:] == 1).all()


@pytest.mark.parametrize("part", [(3000, 4000), (512, 512), (513, 512), (100, 9000), (1, 1)])
@pytest.mark.parametrize("size", [(256, 256), (160, 416)])
@pytest.mark.parametrize("overlap", [0, 0.125, 0.5])
def test_the_fewest_tiles_are_chosen_that_are_dense_enough(
    part: tuple[int, int], size: tuple[int, int], overlap: float
) -> None:
    def covers(columns: int, rows: int) -> list[float]:
        canvas = Tiling(columns, rows, overlap).find_canvas(size)
        return [whole / side for whole, side in zip(part, canvas, strict=True)]

    columns, rows = choose_tiles(part, size, overlap)
    assert max(covers(columns, rows)) <= DENSE
    assert rows == 1 or covers(columns, rows - 1)[0] > DENSE
    assert columns == 1 or covers(columns - 1, rows)[1] > DENSE


def test_what_would_need_too_many_tiles_is_refused() -> None:
    with pytest.raises(OptionError, match=rf"would need 1x\d+ tiles of 64 x 64, more than {MOST} a side; give"):
        choose_tiles((9000, 100), (64, 64), 0.125)


@pytest.mark.parametrize("text", ["", "4", "0x3", "3x0", "65x1", "4x3x2", "-1x2", "auto4", "4 x 3", "٣x٣", "1e1x2"])
def test_what_are_no_tiles_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="must be auto, or COLUMNSxROWS"):
        parse_tiles(text)


def test_columns_come_first() -> None:
    assert parse_tiles("4x3") == (4, 3)
    assert parse_tiles(" 64X1 ") == (64, 1)
    assert parse_tiles("auto") is None


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Nine photographs of noise."""
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


def open_source(workers: int = 0, cache_bytes: int = 0) -> ImageSource:
    return ImageSource(SIZE, workers=workers, cache_bytes=cache_bytes, framing=Framing(tiling=Tiling(3, 2)))


@pytest.mark.parametrize(("workers", "cache_bytes"), [(0, 0), (2, 1 << 20)])
@pytest.mark.parametrize("held", [1, 2, 100])
def test_tiles_come_in_the_order_asked_for(
    paths: list[Path], workers: int, cache_bytes: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(workers, cache_bytes)
    hold(monkeypatch, source, held)
    parts = [part for item in items_of(paths) for part in source.parts(item)]
    assert len(parts) == 9 * 6
    shuffled = [parts[i] for i in np.random.default_rng(0).permutation(len(parts))]
    for _ in range(2):
        found = list(source.stream_parts(shuffled))
        assert [item for item, _ in found] == shuffled
        for item, image in found:
            np.testing.assert_array_equal(image.pixels, source.read(item).pixels)
            assert image.pixels.shape == (*SIZE, 3)


def note_decoding(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list of the photographs that are decoded from now on."""
    decoded: list[Path] = []

    def note(path: Path, **_: object) -> Photograph:
        decoded.append(path)
        return open_photograph(path)

    monkeypatch.setattr(source_module, "open_photograph", note)
    return decoded


def hold(monkeypatch: pytest.MonkeyPatch, source: ImageSource, photographs: int) -> None:
    height, width = source.framing.find_sheet(SIZE)
    monkeypatch.setattr(source_module, "PARTED_BYTES", photographs * 3 * height * width)
    assert source.photographs_at_once == photographs


@pytest.mark.parametrize("held", [1, 2, 100])
@pytest.mark.parametrize("epoch", [None, 0, 1])
def test_a_photograph_is_decoded_once_in_a_pass_however_few_are_held(
    paths: list[Path], held: int, epoch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(
        source_module, "open_photograph", lambda path, **_: decoded.append(path) or open_photograph(path)
    )
    source = open_source()
    hold(monkeypatch, source, held)
    batches = Batches(items_of(paths), source, batch_size=5)
    assert sum(len(batch) for batch in (batches if epoch is None else batches.shuffled(epoch))) == 9 * 6
    assert sorted(decoded) == paths


def test_an_ordered_pass_holds_one_photograph(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all of the nine before the first tile is given would take their memory."""
    decoded = []
    monkeypatch.setattr(
        source_module, "open_photograph", lambda path, **_: decoded.append(path) or open_photograph(path)
    )
    source = open_source()
    stream = source.stream_parts([part for item in items_of(paths) for part in source.parts(item)])
    next(stream)
    assert len(decoded) <= 2


@pytest.mark.parametrize("held", [1, 4, 100])
def test_an_epoch_has_every_tile_once_in_an_order_of_its_own(
    paths: list[Path], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source()
    hold(monkeypatch, source, held)
    batches = Batches(items_of(paths), source, batch_size=5, seed=3)
    assert batches.count == 54
    assert len(batches) == 11
    orders = [np.concatenate(list(batches.order(epoch))).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    for order in orders:
        assert sorted(order) == list(range(54))
    for start in range(0, 54, 6 * held):
        assert len({number // 6 for number in orders[0][start : start + 6 * held]}) == min(held, 9 - start // 6)


def test_parts_of_a_split_share_no_photograph(paths: list[Path]) -> None:
    rest, part = Batches(items_of(paths), open_source()).split(0.3)
    assert (rest.count, part.count) == (6 * 6, 3 * 6)
    assert not {item.path for item in rest.items} & {item.path for item in part.items}


def test_a_photograph_that_is_gone_costs_its_tiles_alone(paths: list[Path], tmp_path: Path) -> None:
    source = ImageSource(SIZE, workers=0, skip_unreadable=True, framing=Framing(tiling=Tiling(3, 2)), cache_bytes=0)
    batches = Batches(items_of(paths), source, batch_size=54)
    paths[4].unlink()
    for passing in (batches, batches.shuffled(0)):
        (images,) = passing
        assert len(images) == 8 * 6
    assert list(source.skipped) == [str(paths[4])]


def brightest(images: ImageBatch) -> Scored:
    """Score as the brightest pixel; the map is the red channel."""
    assert images.shape[1:] == (*SIZE, 3)
    return images.max(axis=(1, 2, 3)).astype(np.float32), images[:, :, :, 0].astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_a_photograph_has_the_largest_score_of_its_tiles_and_one_map(paths: list[Path], batch_size: int) -> None:
    framing, source = Framing(tiling=Tiling(3, 2)), open_source()
    runtime, count = in_batches_of_parts(of_parts(brightest, framing, SIZE), batch_size)
    assert count == max(batch_size // 6, 1)
    canvases = np.stack([source.read(item).pixels for item in items_of(paths)])
    scores, maps = runtime(canvases)
    np.testing.assert_array_equal(scores, canvases.max(axis=(1, 2, 3)))
    assert maps is not None
    np.testing.assert_allclose(maps, canvases[:, :, :, 0], rtol=1e-6)


def test_tiles_are_computed_with_tiles_of_their_own_photograph_alone(paths: list[Path]) -> None:
    sizes = []

    def count(images: ImageBatch) -> Scored:
        sizes.append(len(images))
        return brightest(images)

    source = open_source()
    canvases = np.stack([source.read(item).pixels for item in items_of(paths)])
    TiledRuntime(count, Tiling(3, 2), SIZE, batch_size=4)(canvases)
    assert sizes == [4, 2] * 9


def test_a_score_that_is_no_number_is_not_lost_among_those_of_other_tiles(paths: list[Path]) -> None:
    def broken(images: ImageBatch) -> Scored:
        return np.array([np.nan] + [1.0] * (len(images) - 1), np.float32), None

    scores, maps = TiledRuntime(broken, Tiling(3, 2), SIZE)(open_source().read(Item(paths[0])).pixels[None])
    assert np.isnan(scores).all()
    assert maps is None


def test_one_tile_is_the_photograph_as_it_is(paths: list[Path]) -> None:
    assert of_parts(brightest, Framing(tiling=Tiling(1, 1)), SIZE) is brightest
    source = ImageSource(SIZE, workers=0, framing=Framing(tiling=Tiling(1, 1, 0.5)))
    assert source.parts(Item(paths[0])) == [Item(paths[0])]
    assert source.framing.find_sheet(SIZE) == SIZE
