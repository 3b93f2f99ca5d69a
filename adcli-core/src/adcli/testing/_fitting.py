"""Images to fit a model to, and a defect it must find: for tests of a model's own mathematics. Imports torch inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from adcli.data import Size
    from adcli.nn import Batches, Model
    from adcli.options import Options

ModelT = TypeVar("ModelT", bound="Model")


def textured_batches(
    folder: Path, count: int, size: Size = (64, 64), *, batch_size: int = 8, contrast: float = 20
) -> Batches:
    """Write good images into a folder and return them as a model is given them to fit.

    The images are grey, waves of one period that differ in phase, and in noise. They are the same each time.

    Args:
        folder: an empty folder, for example pytest's ``tmp_path``.
        count: number of images.
        size: height and width of images and batches.
        batch_size: number of images in a batch.
        contrast: of the waves, in levels of 255; the noise has a standard deviation of 8.
    """
    import numpy as np
    from PIL import Image

    from adcli.data import ImageSource, items_of
    from adcli.nn import Batches

    random = np.random.default_rng(0)
    for i in range(count):
        waves = np.sin(np.arange(size[1]) / 4 + random.uniform(0, 6))
        pixels = 128 + contrast * waves + random.normal(0, 8, size)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03}.png")
    return Batches(items_of(sorted(folder.glob("*.png"))), ImageSource(size), batch_size=batch_size)


def stack_images(batches: Batches) -> Tensor:
    """Return all images of some batches, (N, 3, H, W), float32 in [0, 1]."""
    import torch

    return torch.cat(list(batches))


def fit_model(model: type[ModelT], options: Options, batches: Batches) -> ModelT:
    """Make a model for the size of some batches and fit it to them; the same seed and so the same model each time."""
    import torch

    torch.manual_seed(0)
    made = model(options, image_size=batches.image_size)
    made.fit(batches)
    return made.eval()


def assert_defect_is_found(
    model: Model, image: Tensor, rows: slice, columns: slice, *, fill: Tensor | float = 0.0, factor: float = 2
) -> None:
    """Check that a defect planted in a good image raises its score, and that the map peaks inside of the defect.

    Args:
        model: a fitted model whose scores have maps.
        image: a good image, (1, 3, H, W).
        rows, columns: the place of the defect.
        fill: what is put there: one value, or pixels (1, 3, height, width).
        factor: how many times the score of the good image the score must exceed.
    """
    import torch

    defective = image.clone()
    defective[:, :, rows, columns] = fill
    with torch.inference_mode():
        clean, found = float(model(image).image), model(defective)
    assert float(found.image) > factor * clean, (
        f"the defect scores {float(found.image):.3g}, the good image {clean:.3g}"
    )
    assert found.map is not None, "the model gives no map"
    assert found.map.shape[-2:] == image.shape[-2:], f"the map has shape {tuple(found.map.shape)}"
    row, column = divmod(int(found.map.argmax()), found.map.shape[-1])
    inside = rows.start <= row < rows.stop and columns.start <= column < columns.stop
    assert inside, f"the map peaks at row {row}, column {column}, outside of the defect"
