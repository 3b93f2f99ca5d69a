"""What tests of a model's mathematics are given: the same images each time, and a check that can fail."""

from pathlib import Path

import pytest
import torch

from adcli import Options
from adcli.nn import Model, Scores
from adcli.testing import assert_defect_is_found, fit_model, stack_images, textured_batches
from adcli.testing.reference import MeanImage

ROWS, COLUMNS = slice(20, 36), slice(8, 24)


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[Model, torch.Tensor]:
    """A mean image and a good image."""
    batches = textured_batches(tmp_path, 6, batch_size=4)
    return fit_model(MeanImage, Options(), batches), stack_images(batches)[:1]


def test_images_are_the_same_each_time_and_no_two_alike(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (textured_batches(tmp_path / name, 5, (48, 40), batch_size=2) for name in ("one", "other"))
    assert [len(images) for images in one] == [2, 2, 1]
    images = stack_images(one)
    assert images.shape == (5, 3, 48, 40)
    assert torch.equal(images, stack_images(other))
    assert torch.cdist(images.flatten(1), images.flatten(1)).fill_diagonal_(1).min() > 0.1


def test_a_defect_that_is_found_passes(fitted: tuple[Model, torch.Tensor]) -> None:
    model, image = fitted
    before = image.clone()
    assert_defect_is_found(model, image, ROWS, COLUMNS, fill=torch.ones(1, 3, 16, 16))
    assert torch.equal(image, before)


class Elsewhere(MeanImage):
    """Turns its maps over."""

    def forward(self, images: torch.Tensor) -> Scores:
        image, found = super().forward(images)
        return Scores(image, None if found is None else found.flip(3))


class Faint(MeanImage):
    """Scores all but alike."""

    def forward(self, images: torch.Tensor) -> Scores:
        image, found = super().forward(images)
        return Scores(image + 1000, found)


@pytest.mark.parametrize(("model", "problem"), [(Elsewhere, "outside of the defect"), (Faint, "the defect scores")])
def test_a_defect_that_is_missed_fails(tmp_path: Path, model: type[Model], problem: str) -> None:
    batches = textured_batches(tmp_path, 6)
    with pytest.raises(AssertionError, match=problem):
        assert_defect_is_found(fit_model(model, Options(), batches), stack_images(batches)[:1], ROWS, COLUMNS)
