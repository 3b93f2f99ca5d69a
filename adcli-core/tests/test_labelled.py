"""Known defects beside good images: balanced, repeatable, with masks that lie where the defects do."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from adcli.data import Framing, ImageSource, Item, Sample, items_of
from adcli.data.tiling import Tiling
from adcli.errors import DataError
from adcli.nn import Batches, LabelledBatch, LabelledBatches
from adcli.nn.labelled import _deal

SIZE = (16, 24)
GOOD = 7


def write(path: Path, grey: int, box: tuple[int, int, int, int] | None = None) -> Path:
    """Write a grey image, twice as large as a batch's, with a white box if one is given."""
    pixels = np.full((2 * SIZE[0], 2 * SIZE[1]), grey, np.uint8)
    if box is not None:
        pixels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(pixels).save(path)
    return path


def make(folder: Path, *, masked: bool = True, source: ImageSource | None = None, batch_size: int = 4) -> Batches:
    """Return seven good images, and two with a white box each, which their masks mark."""
    good = [write(folder / f"{i}.png", 10 * i) for i in range(GOOD)]
    boxes = ((4, 4, 12, 12), (36, 20, 48, 32))
    defects = [
        Sample(
            write(folder / f"defect{i}.png", 200 + i, box),
            "defect",
            write(folder / f"defect{i}_mask.png", 0, box) if masked else None,
        )
        for i, box in enumerate(boxes)
    ]
    return Batches(items_of(good), source or ImageSource(SIZE, workers=0), batch_size=batch_size, defects=defects)


def join(batches: LabelledBatches, epoch: int) -> LabelledBatch:
    """Return an epoch as one batch."""
    return LabelledBatch(*map(torch.cat, zip(*batches.shuffled(epoch), strict=True)))


def greys(images: Tensor) -> Counter[int]:
    """Return how often each grey occurs in the corners of images."""
    return Counter((255 * images[:, 0, 0, 0]).round().int().tolist())


def test_an_epoch_has_as_many_good_images_as_defects(tmp_path: Path) -> None:
    batches = LabelledBatches(make(tmp_path), repeat=3)
    epoch = join(batches, 0)
    assert len(batches) == len(list(batches.shuffled(0))) == 3
    assert epoch.images.shape == (12, 3, *SIZE)
    assert epoch.masks.shape == (12, 1, *SIZE)
    assert epoch.labels.sum() == 6
    assert greys(epoch.images[epoch.labels == 1]) == {200: 3, 201: 3}
    assert not epoch.masks[epoch.labels == 0].any()


def test_all_good_images_are_used_before_one_is_used_again(tmp_path: Path) -> None:
    batches = LabelledBatches(make(tmp_path))
    seen = Counter[int]()
    for epoch in range(GOOD):
        part = join(batches, epoch)
        seen += greys(part.images[part.labels == 0])
        assert max(seen.values()) - min([*seen.values(), *[0] * (GOOD - len(seen))]) <= 1
    assert set(seen.values()) == {2}


@pytest.mark.parametrize(("size", "count"), [(5, 2), (5, 12), (1, 3), (4, 4)])
def test_successive_deals_are_one_deck(size: int, count: int) -> None:
    dealt = np.concatenate([_deal(size, i * count, count, 3) for i in range(6)])
    assert len(dealt) == 6 * count
    for start in range(0, len(dealt) - size + 1, size):
        assert sorted(dealt[start : start + size]) == list(range(size))


def test_masks_lie_where_the_defects_do(tmp_path: Path) -> None:
    epoch = join(LabelledBatches(make(tmp_path)), 0)
    defective = epoch.labels == 1
    # Away from the border of a box, which resizing blurs in both.
    white = epoch.images[defective][:, :1] > 0.99
    assert white.any()
    assert (epoch.masks[defective][white] > 0.95).all()
    assert (epoch.images[defective][:, :1][epoch.masks[defective] > 0.99] > 0.98).all()


def test_what_is_not_marked_is_not_known(tmp_path: Path) -> None:
    epoch = join(LabelledBatches(make(tmp_path, masked=False)), 0)
    assert epoch.masks[epoch.labels == 1].isnan().all()
    assert not epoch.masks[epoch.labels == 0].any()


def test_an_epoch_depends_on_its_number_and_the_seed_alone(tmp_path: Path) -> None:
    batches = make(tmp_path)
    first, again = (join(LabelledBatches(batches, 2), 5) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first.images, join(LabelledBatches(batches, 2), 6).images)


def test_images_and_masks_are_moved_alike(tmp_path: Path) -> None:
    batches = LabelledBatches(make(tmp_path))
    (moved,) = batches.shuffled(0, augment=lambda images, _: images.flip(3))
    (still,) = batches.shuffled(0)
    assert torch.equal(moved.images, still.images.flip(3))
    assert torch.equal(moved.masks, still.masks.flip(3))
    assert torch.equal(moved.labels, still.labels)


def test_processes_share_out_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = join(LabelledBatches(make(tmp_path, batch_size=6), 3), 1)
    parts = []
    for rank in range(2):
        monkeypatch.setattr("adcli.nn.batches.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("adcli.nn.batches.distributed.world_size", lambda: 2)
        parts.append(list(LabelledBatches(make(tmp_path, batch_size=3), 3).sharded().shuffled(1)))
    assert [len(part) for part in parts] == [2, 2]
    joined = torch.cat([part[step].images for step in range(2) for part in parts])
    assert torch.equal(joined, whole.images)


def test_of_tiles_those_that_show_a_defect_are_defects(tmp_path: Path) -> None:
    source = ImageSource((8, 12), workers=0, framing=Framing(tiling=Tiling(2, 2, 0.0)))
    batches = LabelledBatches(make(tmp_path, source=source))
    epoch = join(batches, 0)
    assert [item.part for item in batches._defects] == [0, 3]
    assert epoch.labels.sum() == 2
    assert (epoch.masks[epoch.labels == 1].flatten(1).amax(dim=1) > 0.9).all()


def test_a_mask_is_framed_as_its_image(tmp_path: Path) -> None:
    ignored = np.zeros((2 * SIZE[0], 2 * SIZE[1]), bool)
    ignored[:, 8:] = True
    framing = Framing(region=(4, 0, 40, 32), ignored=ignored)
    mask = np.zeros((2 * SIZE[0], 2 * SIZE[1]), bool)
    mask[4:12, 4:12] = True
    found = framing.fitted_mask(mask, mask.shape, (32, 40), "it")
    assert found[4:12, :4].min() == 255
    assert np.count_nonzero(found) == 8 * 4


def test_a_mask_of_another_size_is_scaled(tmp_path: Path) -> None:
    mask = np.zeros((8, 12), bool)
    mask[2:4, 3:6] = True
    found = Framing().fitted_mask(mask, (32, 48), (32, 48), "it")
    assert (found[8:16, 12:24] == 255).all()
    assert np.count_nonzero(found) == 8 * 12


def test_defects_that_nothing_is_seen_of_are_refused(tmp_path: Path) -> None:
    source = ImageSource(SIZE, workers=0, framing=Framing(region=(16, 0, 16, 16)))
    with pytest.raises(DataError, match="none of the 2 known defects lies in what is looked at"):
        LabelledBatches(make(tmp_path, source=source))


def test_images_held_out_have_no_known_defects(tmp_path: Path) -> None:
    rest, part = make(tmp_path).split(0.3)
    assert len(rest.defects) == 2
    assert not part.defects


def test_masks_beyond_the_bound_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = join(LabelledBatches(make(tmp_path)), 0).masks
    monkeypatch.setattr("adcli.nn.labelled.KEPT_BYTES", 0)
    batches = LabelledBatches(make(tmp_path))
    assert not batches._kept
    assert torch.equal(join(batches, 0).masks, expected)
    assert isinstance(batches._defects[0], Item)
