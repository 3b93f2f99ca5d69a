"""Each thing is done once: a test image is decoded and scored once, and its mask read once."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import Adcli

from adcli.data import decoding
from adcli.nn.runtime import ModelRuntime

SIDE = 200  # larger than the small maps of the report


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set whose images are all different, and larger than the model's input."""
    random = np.random.default_rng(0)
    for place, count in (("train/good", 6), ("calibration", 6), ("test/good", 3), ("test/hole", 3)):
        (tmp_path / "data" / place).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / place / f"{i}.png")
    (tmp_path / "data/ground_truth/hole").mkdir(parents=True)
    for i in range(3):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[20:40, 20:40] = 255
        Image.fromarray(mask).save(tmp_path / f"data/ground_truth/hole/{i}_mask.png")
    return tmp_path / "data"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count, at the bottom of all ways that lead there, what is done to what."""
    counts: Counter[str] = Counter()

    def count(where: object, function: str, key: Callable[..., dict[str, int]]) -> None:
        original = getattr(where, function)

        def counting(*arguments: object, **more: object) -> object:
            counts.update(key(*arguments))
            return original(*arguments, **more)

        monkeypatch.setattr(where, function, counting)

    decode = decoding.decode
    for module in [module for module in sys.modules.values() if vars(module).get("decode") is decode]:
        count(module, "decode", lambda _, name, *white: {f"decoded {Path(str(name)).parent.name}": 1})
    count(decoding, "_read_one_mask", lambda _: {"masks": 1})
    count(ModelRuntime, "__call__", lambda _, images: {"scored": len(images)})
    return counts


TRAIN = (
    "--model",
    "padim",
    "--backbone",
    "random:resnet18",
    "-o",
    "layers=1",
    "--image-size",
    "32",
    "--batch-size",
    "2",
)
TESTED = {"decoded hole": 3, "masks": 3}


def test_every_test_image_is_looked_at_once(data: Path, tmp_path: Path, counted: Counter[str], adcli: Adcli) -> None:
    run = tmp_path / "run"
    assert adcli("train", *TRAIN, "--data", data, "--calibration", data / "calibration", "--out", run).code == 0
    # The image that sets the threshold is looked at again, for its picture; what rounding does is measured on images
    # in the cache: three alone, and eight together.
    calibrated = {"decoded calibration": 6 + 1}
    # The report shows that picture.
    shown = {"decoded calibrations": 1}
    assert counted == {
        **TESTED,
        **calibrated,
        **shown,
        # The first image with colours tells what is learnt from.
        "decoded good": 1 + 6 + 3,
        "scored": 6 + 3 + 8 + 1 + 6,
    }
    counted.clear()
    assert adcli("evaluate", run).code == 0
    assert counted == {**TESTED, **shown, "decoded good": 3, "scored": 6}
    counted.clear()
    assert adcli("predict", run, data / "test/hole", "--overlays", "--out", tmp_path / "out").code == 0
    assert counted == {"decoded hole": 3, "scored": 3}
    assert len(list((tmp_path / "out/maps").iterdir())) == 3
