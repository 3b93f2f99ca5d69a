"""A training that was interrupted goes on with images that moved, and says what differs if they are others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Adcli, assert_one_line

from adcli import pipeline
from adcli.pipeline._moved_images import describe_difference
from adcli.runs.images import SeenImage


@pytest.fixture
def interrupted(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of its own, in ``photos``, on which a training was interrupted as the run ``half``."""

    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    data = Path(shutil.copytree(parts, tmp_path / "photos"))
    options = {"backbone": "random:resnet18"}
    settings = pipeline.TrainSettings(model="padim", data=str(data), image_size="64", options=options)
    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train.calibrate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.train(settings, out=tmp_path / "half")
    return data


def test_a_training_goes_on_with_images_that_moved(adcli: Adcli, interrupted: Path, tmp_path: Path) -> None:
    interrupted.rename(tmp_path / "archive")
    assert_one_line(adcli("train", "--resume", "half"), 4, "photos", "adcli train --resume half --data FOLDER")
    outcome = adcli("train", "--resume", "half", "--data", "archive")
    assert outcome.code == 0, outcome.err
    run = pipeline.load("half")
    assert run.settings["data"] == str(tmp_path / "archive")
    assert not (tmp_path / "half" / "training.csv").exists()
    assert json.loads((tmp_path / "half/metrics.json").read_text())
    assert adcli("evaluate", "half").code == 0


def _rename(folder: Path) -> None:
    (folder / "000.png").rename(folder / "other.png")


def _remove(folder: Path) -> None:
    (folder / "000.png").unlink()


def _add(folder: Path) -> None:
    shutil.copy(folder / "000.png", folder / "copy.png")


def _change(folder: Path) -> None:
    shutil.copy(folder / "001.png", folder / "000.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_rename, "000.png is now other.png"),
        (_remove, "000.png is missing"),
        (_add, "copy.png is new"),
        (_change, "000.png has another content"),
    ],
)
def test_what_differs_is_said(
    adcli: Adcli, interrupted: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    change(interrupted / "train/good")
    for more in ([], ["--data", interrupted]):
        assert_one_line(adcli("train", "--resume", "half", *more), 5, f"changed since ({words}); train anew")
    assert (tmp_path / ".partial/half").is_dir()


def test_differences_are_counted_by_kind() -> None:
    before = [SeenImage(name, digest, "fitted") for name, digest in zip("abcdefg", "1234567", strict=True)]
    now = [SeenImage(name, digest, "fitted") for name, digest in zip("acxyzg", "123458", strict=True)]
    assert describe_difference(before, before) == ""
    assert describe_difference(before, now).split("; ") == [
        "2 are missing, such as b",
        "x is new",
        "2 have another content, such as c",
        "2 have other names, such as d is now y",
    ]
