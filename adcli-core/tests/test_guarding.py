"""No image sets a threshold that the model was fitted to, whatever it is called; and copies count once."""

import random
from pathlib import Path

import pytest

from adcli.data.guarding import guard
from adcli.data.samples import Sample, Splits
from adcli.data.source import Item, items_of
from adcli.data.splitting import content_digests
from adcli.errors import DataError
from adcli.options import Options
from adcli.pipeline._plan import plan_calibration
from adcli.progress import Silent
from adcli.runs.settings import TrainSettings
from adcli.scoring.thresholds import CalibrationPlan
from adcli.specs import ModelSpec

SPEC = ModelSpec(name="model", target="", options=Options, summary="", one_pass=True)


@pytest.mark.parametrize("seed", range(50))
def test_what_is_kept_is_new_and_different_and_all_is_counted(seed: int) -> None:
    draw = random.Random(seed)
    digests = draw.choices("abcdefgh", k=draw.randint(1, 12))
    fitted = set(draw.sample("abcdefgh", draw.randint(0, 4)))
    tested = set(draw.sample("abcdefgh", draw.randint(0, 3)))
    if (fitted | tested).issuperset(digests):
        with pytest.raises(DataError, match=r"--data x: .*; do this") as caught:
            guard(digests, digests, fitted, "--data x", "do this", tested=tested)
        assert ("fitted to" in caught.value.message) == bool(fitted.intersection(digests))
        assert ("test images" in caught.value.message) == bool((tested - fitted).intersection(digests))
        return
    guarded = guard(digests, digests, fitted, "--data x", "do this", tested=tested)
    assert set(guarded.kept) == set(digests) - fitted - tested
    assert len(set(guarded.kept)) == len(guarded.kept)
    assert guarded.fitted == sum(digest in fitted for digest in digests)
    assert guarded.tested == sum(digest in tested - fitted for digest in digests)
    assert len(guarded.kept) + sum(guarded.left_out.values()) == len(digests)
    notes = " ".join(guarded.notes("--data x"))
    assert ("the model is fitted to them" in notes) == bool(guarded.fitted)
    assert ("they are test images" in notes) == bool(guarded.tested)
    assert ("copies of others" in notes) == bool(guarded.copies)


def test_files_that_are_not_known_are_no_copies() -> None:
    assert guard("ab", ["", ""], {""}, "--data x", "").kept == ["a", "b"]


def write(folder: Path, contents: str, prefix: str = "") -> list[Item]:
    """Write a file for each letter, named by its place, so that names tell nothing of contents."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, letter in enumerate(contents):
        (folder / f"{prefix}{i:02}.png").write_text(letter)
    return items_of(sorted(folder.glob(f"{prefix}*.png")))


def plan(items: list[Item], splits: Splits | None = None, **settings: object) -> tuple[CalibrationPlan, str]:
    """Return the plan for some images, and what was noted."""
    progress = Silent()
    made = plan_calibration(
        TrainSettings.parse({"model": "model", **settings}),
        SPEC,
        splits or Splits([]),
        items,
        content_digests([item.path for item in items]),
        progress,
    )
    return made, " ".join(progress.notes)


def contents(items: object) -> list[str]:
    return [item.path.read_text() for item in items]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("how", ["0.3", "4-fold", "FOLDER"])
def test_no_image_of_the_fit_calibrates_a_training(tmp_path: Path, seed: int, how: str) -> None:
    draw = random.Random(seed)
    items = write(tmp_path / "train", "".join(draw.choices("abcdefghijkl", k=27)) + "xyz")
    write(tmp_path / "others", "".join(draw.choices("abcdefghijklmnop", k=10)) + "z", "other-")
    settings = {"calibration": str(tmp_path / "others") if how == "FOLDER" else how, "seed": seed}
    made, notes = plan(items, **settings)
    if made.folds:
        assert sorted(contents(made.fit)) == sorted(contents(item for fold in made.folds for item in fold))
        for fold in made.folds:
            rest = set(contents(made.fit)) - set(contents(fold))
            assert len(rest) + len(set(contents(fold))) == len(set(contents(made.fit)))
        assert "copies of others, which count once" in notes
    else:
        assert made.good
        assert not set(contents(made.good)) & set(contents(made.fit))
        assert len(set(contents(made.good))) == len(made.good)
        assert sum(made.left_out.values()) + len(made.good) == (11 if how == "FOLDER" else 9)
        assert ("the model is fitted to them" in notes) == ("fitted" in made.left_out)


@pytest.mark.parametrize("own", [True, False])
def test_no_image_of_the_fit_validates_a_training(tmp_path: Path, own: bool) -> None:
    items = write(tmp_path / "train", "abcdefgh")
    write(tmp_path / "labelled/good", "axyx")
    write(tmp_path / "labelled/scratch", "bz")
    samples = [
        Sample(path, "good" if path.parent.name == "good" else "defect")
        for path in sorted((tmp_path / "labelled").rglob("*.png"))
    ]
    settings = {"calibration": "none", "threshold": "f1"}
    if own:
        made, notes = plan(items, Splits([], [], samples), **settings)
    else:
        made, notes = plan(items, validation=str(tmp_path / "labelled"), **settings)
    assert [sample.image.read_text() for sample in made.validation] == ["x", "y", "z"]
    assert "left out 2 of 6 images: the model is fitted" in notes
    write(tmp_path / "labelled/scratch", "bb")
    with pytest.raises(DataError, match=r"good and defective, and the 2 defective ones of .*labelled are all images"):
        plan(items, validation=str(tmp_path / "labelled"), **settings)
    with pytest.raises(DataError, match=r"good and defective, and --validation .* has no good ones"):
        plan(items, validation=str(tmp_path / "labelled/good"), **settings)


def test_no_test_image_calibrates_or_validates_a_training(tmp_path: Path) -> None:
    items, shown = write(tmp_path / "train", "abcdefgh"), write(tmp_path / "test", "uvwz")
    splits = Splits([], [Sample(item.path) for item in shown])
    write(tmp_path / "others", "avwxyy", "renamed-")
    made, notes = plan(items, splits, calibration=str(tmp_path / "others"))
    assert contents(made.good) == ["x", "y"]
    assert made.left_out == {"fitted": 1, "test images": 2, "copies": 1}
    assert "left out 2 of 6 images: they are test images" in notes
    write(tmp_path / "labelled/good", "uxa")
    write(tmp_path / "labelled/scratch", "zy")
    made, _ = plan(items, splits, calibration="none", threshold="f1", validation=str(tmp_path / "labelled"))
    assert [sample.image.read_text() for sample in made.validation] == ["x", "y"]
    write(tmp_path / "labelled/good", "uva")
    with pytest.raises(DataError, match=r"the 3 good ones of --validation .* fitted to, or test images"):
        plan(items, splits, calibration="none", threshold="f1", validation=str(tmp_path / "labelled"))
    with pytest.raises(DataError, match=r"--calibration .*: all 4 images are test images.*--calibration none"):
        plan(items, splits, calibration=str(tmp_path / "test"))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("how", ["0.3", "4-fold", "FOLDER"])
def test_no_test_image_calibrates_however_a_training_calibrates(tmp_path: Path, seed: int, how: str) -> None:
    draw = random.Random(seed)
    items = write(tmp_path / "train", "abcdefghijklmnopqrstuvwxyz" + "".join(draw.choices("abc", k=4)))
    write(tmp_path / "others", "".join(draw.choices("0123abcdef", k=10)) + "45", "other-")
    shown = write(tmp_path / "test", "".join(draw.sample("0123abcdefghijklmno", 6)))
    splits = Splits([], [Sample(item.path) for item in shown])
    made, notes = plan(items, splits, calibration=str(tmp_path / "others") if how == "FOLDER" else how, seed=seed)
    assert made.calibrating
    assert not set(contents(made.calibrating)) & set(contents(shown))
    assert len(set(contents(made.calibrating))) == len(made.calibrating)
    assert ("they are test images" in notes) == ("test images" in made.left_out)
    if made.folds:
        assert set(contents(made.calibrating)) == set(contents(items)) - set(contents(shown))
        assert sorted(contents(made.fit)) == sorted(contents(items))


@pytest.mark.parametrize("how", ["0.3", "4-fold"])
def test_training_images_that_are_all_test_images_set_no_threshold(tmp_path: Path, how: str) -> None:
    items = write(tmp_path / "train", "abcdefgh")
    splits = Splits([], [Sample(item.path) for item in write(tmp_path / "test", "hgfedcba")])
    with pytest.raises(DataError, match=rf"--calibration {how}: all \d images are test images.*--calibration none"):
        plan(items, splits, calibration=how)
    assert plan(items, splits, calibration="none")[0].fit == items


def test_a_folder_of_nothing_but_the_images_of_the_fit_is_refused(tmp_path: Path) -> None:
    items = write(tmp_path / "train", "abcd")
    write(tmp_path / "others", "dcba", "renamed-")
    with pytest.raises(DataError, match=r"fitted to all 4 images.*--calibration none"):
        plan(items, calibration=str(tmp_path / "others"))
    with pytest.raises(DataError, match="at least 3 different"):
        plan(write(tmp_path / "same", "aaaabb"), calibration="3-fold")
