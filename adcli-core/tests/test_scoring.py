"""What a model says of images is passed on only where it is a number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.images import ImageSource
from adcli.errors import TrainingError
from adcli.exports import Pixels, Scored
from adcli.pipeline.scoring import score_images

SIZE = (8, 8)


@pytest.mark.parametrize(("score", "value", "what"), [(np.nan, 0.0, "score is nan"), (1.0, np.inf, "map has values")])
def test_what_is_no_number_is_refused_with_the_image(tmp_path: Path, score: float, value: float, what: str) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", SIZE, (i, i, i)).save(path)

    def runtime(images: Pixels) -> Scored:
        last = images[:, 0, 0, 0] == 2
        scores, maps = np.where(last, score, 1.0), np.where(last[:, None, None], value, np.zeros((len(images), *SIZE)))
        return scores.astype(np.float32), maps.astype(np.float32)

    scored = score_images(runtime, paths, ImageSource(SIZE, workers=0), batch_size=2)
    assert [next(scored).path, next(scored).path] == paths[:2]
    with pytest.raises(TrainingError, match=rf"2\.png: .*{what}"):
        next(scored)
