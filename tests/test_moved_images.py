"""A training that was interrupted goes on with images that moved, and says what differs if they are others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Adcli, assert_one_line

from adcli import DataError, pipeline
from adcli._files import seal
from adcli.options import BackboneOptions
from adcli.pipeline._inputs import compare_inputs, list_inputs
from adcli.pipeline._moved_images import describe_difference
from adcli.runs.images import SeenImage, parse_images, read_images
from adcli.runs.run import read_run_file
from adcli.scoring.thresholds import CalibrationPlan


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


def test_other_names_are_taken_if_contents_and_their_order_are_the_same(
    adcli: Adcli, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    good = interrupted / "train/good"
    names = sorted(path.name for path in good.iterdir())
    for name in names:
        (good / name).rename(good / f"camera-{name}")
    interrupted.rename(tmp_path / "archive")
    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train.calibrate", interrupt)
        assert adcli("train", "--resume", "half", "--data", "archive").code == 130
    outcome = adcli("train", "--resume", "half", "--data", "archive")
    assert outcome.code == 0, outcome.err
    fitted = [image.name for image in read_images(tmp_path / "half") if image.role in ("fitted", "held-out")]
    assert sorted(fitted) == [f"camera-{name}" for name in names]


def test_a_list_of_images_that_is_not_of_the_run_is_not_believed(
    adcli: Adcli, interrupted: Path, tmp_path: Path
) -> None:
    listed = tmp_path / ".partial/half/training.csv"
    (interrupted / "train/good/000.png").write_bytes((interrupted / "train/good/001.png").read_bytes())
    digests = [image.digest for image in parse_images(listed)]
    listed.write_text(listed.read_text().replace(digests[0], digests[1]))
    assert_one_line(adcli("train", "--resume", "half"), 5, "have changed since", "train anew")


def test_a_resumed_training_that_fails_without_a_fit_leaves_files_that_are_not_its_own_and_names_them(
    adcli: Adcli, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise DataError("broke.")

    folder = tmp_path / ".partial/half"
    (folder / "model.safetensors").unlink()
    (folder / "mine.txt").write_text("only copy")
    content = read_run_file(folder / "run.yaml")
    del content["record"]["fit"]
    (folder / "run.yaml").write_text(seal(content))
    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train._fit", fail)
        outcome = adcli("train", "--resume", "half")
    assert_one_line(outcome, 4, "broke")
    assert "did not make it: mine.txt" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


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


def _add_apart(folder: Path) -> None:
    shutil.copy(folder / "train/good/003.png", folder.parent / "apart/new.png")
    (folder.parent / "apart/new.png").write_bytes((folder.parent / "apart/new.png").read_bytes() + b"new")


def _remove_apart(folder: Path) -> None:
    (folder.parent / "apart/000.png").unlink()


def _remove_validation(folder: Path) -> None:
    (folder.parent / "labelled/scratch/000.png").unlink()


APART = {"calibration": "apart"}
F1 = {"threshold": "f1", "validation": "labelled"}
GIVEN = [
    (APART, _add_apart, "the images of --calibration have changed since (new.png is new)"),
    (APART, _remove_apart, "the images of --calibration have changed since (000.png is missing)"),
    (F1, _remove_validation, "the validation images have changed since (scratch/000.png is missing)"),
    ({}, lambda folder: (folder / "test/good/000.png").unlink(), ""),
    ({}, lambda folder: (folder / "ground_truth/scratch/000_mask.png").unlink(), ""),
]


@pytest.mark.parametrize(("settings", "change", "refused"), GIVEN, ids=range(len(GIVEN)))
def test_a_training_goes_on_only_with_what_it_was_given(
    adcli: Adcli,
    parts: Path,
    others: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    change: Callable[[Path], None],
    refused: str,
) -> None:
    """What decides the result must be as it was; of test images it is said that they are others."""

    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    data = Path(shutil.copytree(parts, tmp_path / "photos"))
    shutil.copytree(others / "train/good", tmp_path / "apart")
    shutil.copytree(others / "test", tmp_path / "labelled")
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    command = ("train", "-m", "padim", "-o", "backbone=random:resnet18", "--image-size", 64, "--data", data, *options)
    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train.calibrate", interrupt)
        assert adcli(*command, "--out", "half").code == 130
    change(data)
    outcome = adcli("train", "--resume", "half")
    if refused:
        assert_one_line(outcome, 5, f"half: {refused}; train anew")
        assert (tmp_path / ".partial/half").is_dir()
        return
    assert outcome.code == 0, outcome.err
    assert "test images have changed since the training began" in outcome.err
    assert "began_with" not in (tmp_path / "half/run.yaml").read_text()


def test_a_training_that_was_given_other_files_of_options_is_not_resumed(tmp_path: Path) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(b"weights")
    settings, options = pipeline.TrainSettings(model="padim"), BackboneOptions(weights=own)
    plan = CalibrationPlan(method="none", rate=0.01)
    before = list_inputs(settings, options, plan, [], {})
    assert compare_inputs(before.digests, before.images, before) == ("", "", "")
    own.write_bytes(b"others")
    changes = compare_inputs(before.digests, before.images, list_inputs(settings, options, plan, [], {}))
    assert changes == ("", "", "the file of -o weights has changed since")
