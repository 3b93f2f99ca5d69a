"""What a model says of images is passed on only where it is a number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.framing import Framing
from adcli.data.source import ImageSource
from adcli.errors import TrainingError
from adcli.scoring.runtime import ImageBatch, Scored
from adcli.scoring.scorer import score_images

SIZE = (8, 8)


@pytest.mark.parametrize(("score", "value", "what"), [(np.nan, 0.0, "score is nan"), (1.0, np.inf, "map has values")])
def test_what_is_no_number_is_refused_with_the_image(tmp_path: Path, score: float, value: float, what: str) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", SIZE, (i, i, i)).save(path)

    def runtime(images: ImageBatch) -> Scored:
        last = images[:, 0, 0, 0] == 2
        scores, maps = np.where(last, score, 1.0), np.where(last[:, None, None], value, np.zeros((len(images), *SIZE)))
        return scores.astype(np.float32), maps.astype(np.float32)

    scored = score_images(runtime, paths, ImageSource(SIZE, workers=0), batch_size=2)
    assert [next(scored).path, next(scored).path] == paths[:2]
    with pytest.raises(TrainingError, match=rf"2\.png: .*{what}"):
        next(scored)


@pytest.mark.parametrize("original", [(40, 120), (120, 40)])
def test_what_a_letterbox_adds_is_no_value_of_the_map(tmp_path: Path, original: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", original[::-1]).save(path)
    maps = np.full((1, 24, 24), 9, np.float32)
    # A third of the model's input is the image; the pixels beside it are shared with the border.
    inner = (0, slice(7, 17)) if original[0] < original[1] else (0, slice(None), slice(7, 17))
    maps[inner] = 1
    source = ImageSource((24, 24), workers=0, framing=Framing(fit="letterbox"))
    (scored,) = score_images(lambda images: (np.ones(1, np.float32), maps), [path], source, batch_size=1)
    values = scored.values()
    assert values is not None
    assert values.shape == (40 * 120,)
    assert (values == 1).all()


def test_values_are_those_that_a_prediction_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (120, 40)).save(path)
    ignored = np.zeros((40, 120), bool)
    ignored[:, 50:70] = True
    maps = np.random.default_rng(0).random((1, 24, 24), np.float32)
    maps[:, :, 12] = 7
    framing = Framing(region=(10, 0, 100, 40), fit="letterbox", ignored=ignored)
    source = ImageSource((24, 24), workers=0, framing=framing)
    (scored,) = score_images(lambda images: (np.ones(1, np.float32), maps), [path], source, batch_size=1)
    whole, values = scored.map_at(scored.original_size), scored.values()
    assert whole is not None
    assert values is not None
    assert np.nanmax(whole) == values.max()
    assert np.isnan(whole[:, 50:70]).all()
    assert np.isnan(whole[:, :10]).all()
    assert np.isnan(whole[:, 110:]).all()
    half = scored.map_at((20, 60))
    assert half is not None
    np.testing.assert_array_equal(np.isnan(half), np.isnan(whole)[::2, ::2])
    assert np.nanmax(half) <= values.max() + 1e-6
