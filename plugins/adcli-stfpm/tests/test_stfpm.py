"""STFPM's mathematics, against plain transcriptions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.nn import Batches, FrozenFeatures
from adcli.testing import assert_defect_is_found, textured_batches
from adcli_stfpm import StfpmOptions
from adcli_stfpm.model import Stfpm

SIZE = (64, 48)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Twenty textured images."""
    return textured_batches(tmp_path, 20, SIZE, contrast=40)


def model(**options: object) -> Stfpm:
    """Make a model with random weights."""
    torch.manual_seed(0)
    return Stfpm(StfpmOptions.parse({"backbone": "random:resnet18", **options}), image_size=SIZE).eval()


def loss(detector: Stfpm, images: Tensor) -> float:
    """Return the loss of images."""
    return detector.loss([images, *detector.teacher(images)]).item()


def features(detector: Stfpm, batches: Batches) -> FrozenFeatures:
    """Return images with the teacher's maps."""
    return FrozenFeatures(detector.teacher, batches, 0, with_images=True)


def plain_distances(detector: Stfpm, images: Tensor) -> list[np.ndarray]:
    """Return |t / |t| - s / |s||² at every position of every level."""
    levels = []
    for taught, learnt in zip(detector.teacher(images), detector.student(images), strict=True):
        t, s = taught.double().numpy(), learnt.detach().double().numpy()
        t, s = (part / np.sqrt((part**2).sum(axis=1, keepdims=True)) for part in (t, s))
        levels.append(((t - s) ** 2).sum(axis=1))
    return levels


def test_the_loss_is_the_mean_squared_distance_of_unit_vectors_summed_over_levels() -> None:
    detector, images = model(), torch.rand(3, 3, *SIZE)
    expected = sum(level.mean() for level in plain_distances(detector, images))
    assert loss(detector, images) == pytest.approx(expected, rel=1e-4)


@torch.inference_mode()
def test_the_map_is_the_product_of_the_levels_on_the_finest_grid() -> None:
    detector, images = model(), torch.rand(2, 3, *SIZE)
    product = np.ones((2, 1, 16, 12))
    for level in plain_distances(detector, images):
        grid = torch.from_numpy(level)[:, None]
        product *= F.interpolate(grid, size=(16, 12), mode="bilinear").numpy()
    expected = F.interpolate(torch.from_numpy(product), size=SIZE, mode="bilinear").numpy()
    scores = detector(images)
    assert scores.map is not None
    np.testing.assert_allclose(scores.map.numpy(), expected, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(scores.image, scores.map.flatten(1).amax(dim=1))


def test_the_student_is_not_the_teacher_and_only_it_learns(batches: Batches) -> None:
    detector = model(epochs=4, learning_rate=0.1)
    images = next(iter(batches))
    taught = [part.clone() for part in detector.teacher(images)]
    before = loss(detector, images)
    detector.fit(batches)
    assert loss(detector, images) < before
    for now, then in zip(detector.teacher(images), taught, strict=True):
        torch.testing.assert_close(now, then)
    assert not any(parameter.requires_grad for parameter in detector.parameters())


def test_the_epoch_that_does_best_on_held_out_images_is_kept(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = model(epochs=5)
    found = []
    loss = detector.loss

    def noted(batch: Sequence[Tensor]) -> Tensor:
        if detector.student.training:
            return loss(batch)
        # The third epoch is made to look worst, whatever the student has learnt.
        found.append(loss(batch) + (100 if len(found) == 2 else 0))
        return found[-1]

    monkeypatch.setattr(detector, "loss", noted)
    detector.fit(batches)
    _, held_out = batches.split(0.2)
    (batch,) = features(detector, held_out).shuffled(0)
    assert len(found) == 5
    assert float(loss(batch)) == pytest.approx(float(min(found)), rel=1e-5)


def test_images_held_out_are_never_trained_on(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    shuffled = Batches.shuffled

    def noted(part: Batches, epoch: int, **more: object) -> Iterator[Tensor]:
        if torch.is_grad_enabled():
            read.extend(part.items)
        return shuffled(part, epoch, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Batches, "shuffled", noted)
    model(epochs=1).fit(batches)
    assert len(set(read)) == 16
    read.clear()
    model(epochs=1, held_out=0).fit(batches)
    assert len(set(read)) == 20


@pytest.mark.thorough
def test_the_teacher_sees_each_image_once_and_the_student_learns_the_same(batches: Batches) -> None:
    """Of twenty images a megabyte holds the maps of twelve; rounding depends on how many are computed together."""
    found: dict[int, tuple[int, Stfpm]] = {}
    for memory in (0, 1, 2):
        detector = model(epochs=3, learning_rate=0.1, memory=memory)
        seen: list[int] = []
        detector.teacher.register_forward_hook(lambda _, given, maps, seen=seen: seen.append(len(given[0])))
        detector.fit(batches)
        # A blank image gives the maps' shapes.
        found[memory] = sum(seen) - 1, detector
    assert [count for count, _ in found.values()] == [3 * 20, 12 + 3 * 8, 20]
    for name, expected in found[0][1].student.state_dict().items():
        for memory in (1, 2):
            torch.testing.assert_close(found[memory][1].student.state_dict()[name], expected, rtol=1e-3, atol=1e-4)


def test_the_map_peaks_inside_a_planted_defect(batches: Batches) -> None:
    detector = model(epochs=20, layers="1,2", sigma=2)
    detector.fit(batches)
    noise = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    image = next(iter(batches))[:1]
    assert_defect_is_found(detector, image, slice(24, 44), slice(16, 36), fill=noise)
