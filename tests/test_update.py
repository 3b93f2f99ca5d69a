"""``adcli update``: a run learns more good images, and says what it came from."""

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from support import Adcli, assert_one_line, draw_part

from adcli import pipeline
from adcli.runs.images import read_images
from adcli.runs.run import Run

BACKBONE = ("--backbone", "random:test_resnet", "-o", "layers=1,2")
SMALL: dict[str, tuple[str, ...]] = {
    "padim": ("-m", "padim", *BACKBONE, "-o", "dimensions=16", "--image-size", "64"),
    "dfm": ("-m", "dfm", *BACKBONE, "-o", "score=peak", "--image-size", "64"),
    "dfkde": ("-m", "dfkde", *BACKBONE, "-o", "components=4", "--image-size", "64"),
    "patchcore": ("-m", "patchcore", *BACKBONE, "-o", "coreset=0.2", "--image-size", "64"),
}
GOOD, NEW = 14, 8
"""Good images that a run is fitted to, and those that it learns then."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders of good images: ``old`` and ``new`` to train on, ``both``; the same images to test with the first."""
    for name, numbers in {"old": range(GOOD), "new": range(GOOD, GOOD + NEW), "both": range(GOOD + NEW)}.items():
        save(tmp_path / name / ("train/good" if name != "new" else "good"), numbers)
        if name != "new":
            save(tmp_path / name / "test/good", range(100, 103))
            save(tmp_path / name / "test/scratch", range(200, 203), defect=True)
    return tmp_path


def save(folder: Path, numbers: Sequence[int] | range, *, defect: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        draw_part(number, defect=defect)[0].save(folder / f"{number:03}.png")


def train(adcli: Adcli, name: str, *options: object, data: str = "old", model: str = "dfm") -> None:
    """Train a run of a model that can learn more."""
    outcome = adcli("train", *SMALL[model], "--data", data, "--updatable", "--out", name, *options)
    assert outcome.code == 0, outcome.err


def update(adcli: Adcli, run: str, name: str, *options: object, data: str = "new") -> str:
    """Update a run with new images, and return what is said of it."""
    outcome = adcli("update", run, "--data", data, "--out", name, *options)
    assert outcome.code == 0, outcome.err
    return outcome.err


def scores(run: str) -> dict[str, float]:
    with Path(run, "scores.csv").open(newline="") as file:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(file)}


def record(run: str) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(run, "run.yaml").read_text())["record"])


def assert_same_scores(found: str, expected: str) -> None:
    wanted, got = scores(expected), scores(found)
    spread = max(wanted.values()) - min(wanted.values())
    assert {Path(name).name for name in got} == {Path(name).name for name in wanted}
    by_name = {Path(name).name: score for name, score in wanted.items()}
    assert max(abs(score - by_name[Path(name).name]) for name, score in got.items()) < 1e-5 * spread


def roles(run: str) -> dict[str, set[str]]:
    """Return the digests of the images that a run saw, by what it used them for."""
    found: dict[str, set[str]] = {}
    for image in read_images(Path(run)):
        found.setdefault(image.role, set()).add(image.digest)
    return found


FRAMED: dict[str, tuple[str, ...]] = {
    "the whole image": (),
    "tiles": ("--tiles", "2x1"),
    "zones and an ignored area": (
        "--region",
        "upper=0,0,64,32",
        "--region",
        "lower=0,32,64,32",
        "--ignore",
        "ignore.png",
    ),
}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("model", "framed"),
    [
        ("padim", "the whole image"),
        ("dfkde", "the whole image"),
        *(pytest.param("dfm", framed, marks=pytest.mark.thorough) for framed in FRAMED),
    ],
)
def test_an_update_equals_a_fit_of_both(adcli: Adcli, model: str, framed: str) -> None:
    ignored = Image.new("L", (64, 64))
    ignored.paste(255, (0, 0, 8, 64))
    ignored.save("ignore.png")
    options = ("--calibration", "none", *FRAMED[framed])
    train(adcli, "first", *options, model=model)
    train(adcli, "of-both", *options, model=model, data="both")
    # The run has its own copy.
    Path("ignore.png").unlink()
    update(adcli, "first", "updated")
    assert_same_scores("updated", "of-both")
    assert record("updated")["data"]["fitted"] == GOOD + NEW


@pytest.mark.thorough
@pytest.mark.usefixtures("data")
def test_patchcore_learns_more_without_having_been_asked_to_keep_anything(adcli: Adcli) -> None:
    for name in ("old", "both"):
        options = ("--calibration", "none", "--data", name, "--out", f"of-{name}")
        assert adcli("train", *SMALL["patchcore"], *options).code == 0
    update(adcli, "of-old", "updated")
    banks = [Run.open(Path(run)).restore().get_buffer("bank") for run in ("of-old", "updated", "of-both")]
    assert abs(len(banks[1]) - len(banks[2])) <= 1
    # No patch of all good images is farther from the bank than from that of a fit of both, but for little.
    everything = pipeline.TrainSettings.parse(
        {
            "model": "patchcore",
            "data": "both",
            "image_size": "64",
            "calibration": "none",
            "options": {"backbone": "random:test_resnet", "layers": "1,2", "coreset": "1"},
        }
    )
    patches = pipeline.train(everything, out=Path("all")).run.restore().get_buffer("bank")
    before, after, both = (float(torch.cdist(patches, bank).amin(dim=1).max()) for bank in banks)
    assert after < before
    assert after < 1.2 * both


@pytest.mark.usefixtures("data")
def test_good_images_of_both_that_were_not_learnt_calibrate(adcli: Adcli) -> None:
    train(adcli, "first", "--calibration", "0.3")
    said = update(adcli, "first", "updated")
    old, new = roles("first"), roles("updated")
    assert "calibrated on 4 images that first held out, and 2 new ones." in said
    assert len(new["held-out"]) == 6
    assert old["held-out"] < new["held-out"]
    assert old["fitted"] < new["fitted"]
    assert not new["fitted"] & new["held-out"]
    calibration = Run.open(Path("updated")).calibration
    assert (calibration.n, set(calibration.digests)) == (6, new["held-out"])


@pytest.mark.usefixtures("data")
def test_a_single_new_image_is_learnt_and_the_old_ones_calibrate(adcli: Adcli, tmp_path: Path) -> None:
    save(tmp_path / "one", [77])
    train(adcli, "first", "--calibration", "0.3")
    assert "calibrated on 4 images that first held out, and 0 new ones." in update(
        adcli, "first", "updated", data="one"
    )
    assert (Run.open(Path("updated")).calibration.method, Run.open(Path("updated")).calibration.n) == ("held-out", 4)
    assert roles("updated")["held-out"] == roles("first")["held-out"]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("gone", ["one", "all"])
def test_what_holds_is_said_if_held_out_images_are_gone(adcli: Adcli, gone: str) -> None:
    train(adcli, "first", "--calibration", "0.3")
    if gone == "all":
        shutil.rmtree("old")
    else:
        held_out = roles("first")["held-out"]
        path = next(path for path in sorted(Path("old/train").rglob("*.png")) if _digest(path) in held_out)
        draw_part(999)[0].save(path)
    said = update(adcli, "first", "updated")
    left = {"one": 3, "all": 0}[gone]
    assert f"warning: calibrated on {left} of the 4 images that first held out, and 2 new ones; the others are" in said
    assert len(roles("updated")["held-out"]) == left + 2
    if gone == "all":
        assert "the images of first are not there" in said
        assert not Path("updated/scores.csv").exists()


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("data")
def test_images_that_the_run_knows_are_left_out_and_counted(adcli: Adcli) -> None:
    train(adcli, "first", "--calibration", "0.3")
    # Photographs of a line end in one folder.
    shutil.copytree("old", "grown")
    shutil.copytree("new/good", "grown/train/good", dirs_exist_ok=True)
    shutil.copy("old/test/good/100.png", "grown/train/good/copy.png")
    said = update(adcli, "first", "updated", data="grown")
    assert f"left out 10 of {GOOD + NEW + 1} images: the model is fitted to them already" in said
    assert f"left out 4 of {GOOD + NEW + 1} images: they, or copies, set the threshold" in said
    assert f"left out 1 of {GOOD + NEW + 1} images: they, or copies, are test images" in said
    assert record("updated")["updates"][0]["fitted"] + record("updated")["updates"][0]["held_out"] == NEW
    assert_one_line(adcli("update", "first", "--data", "old", "--out", "none"), 4, "--data old", "does not know")
    assert not Path("none").exists()


@pytest.mark.usefixtures("data")
def test_a_chain_of_updates_names_what_each_run_came_from(adcli: Adcli, tmp_path: Path) -> None:
    train(adcli, "first", "--calibration", "0.3")
    save(tmp_path / "newer", range(50, 56))
    update(adcli, "first", "second")
    said = update(adcli, "second", "third", data="newer")
    assert "calibrated on 6 images that second held out, and 2 new ones." in said
    steps = record("third")["updates"]
    assert [step["run"] for step in steps] == ["first", "second"]
    assert [step["weights"] for step in steps] == [record("first")["weights"], record("second")["weights"]]
    assert [Path(step["data"]).name for step in steps] == ["new", "newer"]
    assert steps[0] == record("second")["updates"][0]
    assert yaml.safe_load(Path("third/run.yaml").read_text())["data"] == str(tmp_path / "old")
    assert set(scores("third")) == set(scores("first"))


@pytest.mark.thorough
@pytest.mark.usefixtures("data")
def test_the_same_command_makes_the_same_run(adcli: Adcli) -> None:
    assert adcli("train", *SMALL["patchcore"], "--data", "old", "--out", "first").code == 0
    for name in ("one", "two"):
        update(adcli, "first", name)
    assert record("one")["weights"] == record("two")["weights"]
    assert scores("one") == scores("two")
    assert Path("one/images.csv").read_bytes() == Path("two/images.csv").read_bytes()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--calibration", "4-fold"), "of the new images alone: those of the run were fitted after its 4-fold"),
        (("--threshold", "3.5"), "calibrated on"),
        (("--threshold", "f1", "--validation", "labelled"), "calibrated on"),
        (("--calibration", "apart"), ""),
    ],
)
def test_the_settings_of_the_run_calibrate(adcli: Adcli, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    save(tmp_path / "labelled/good", range(300, 304))
    save(tmp_path / "labelled/scratch", range(310, 313), defect=True)
    save(tmp_path / "apart", range(320, 326))
    train(adcli, "first", *options)
    said = update(adcli, "first", "updated")
    assert words in said
    before, after = (Run.open(Path(name)).calibration for name in ("first", "updated"))
    if "3.5" in options:
        assert after.image_threshold == 3.5
    if "apart" in options:
        assert set(after.digests) == set(before.digests)
        assert len(roles("updated")["fitted"]) == GOOD + NEW
    if "4-fold" in options:
        assert (after.method, after.n) == ("held-out", 2)


@pytest.mark.usefixtures("data")
def test_the_new_run_is_a_run_like_any_other(adcli: Adcli) -> None:
    train(adcli, "first")
    update(adcli, "first", "updated")
    assert adcli("predict", "updated", "new").code in (0, 3)
    assert adcli("evaluate", "updated").code == 0
    # Neither what the first run was fitted to nor what was learnt since sets a threshold.
    for data in ("old/train/good", "new"):
        assert "the model is fitted to them" in adcli("calibrate", "updated", "--data", data).err
    assert adcli("compare", "first", "updated").code == 0
    assert adcli("runs", "rm", "updated", "--yes").code == 0
    assert not Path("updated").exists()


@pytest.mark.usefixtures("data")
def test_models_and_runs_that_cannot_learn_more_say_what_to_do(adcli: Adcli) -> None:
    options = ("--image-size", "32", "-o", "latent=4", "-o", "features=2", "-o", "epochs=1")
    assert adcli("train", "-m", "ganomaly", *options, "--data", "old", "--out", "trained").code == 0
    refused = adcli("update", "trained", "--data", "new")
    assert_one_line(
        refused, 5, "ganomaly cannot learn more images", "adcli train --config trained/run.yaml --data FOLDER"
    )
    refused = adcli("train", "-m", "ganomaly", "--data", "old", "--updatable")
    assert_one_line(refused, 2, "--updatable: ganomaly cannot learn more")
    assert adcli("train", *SMALL["dfm"], "--data", "old", "--out", "kept-nothing").code == 0
    refused = adcli("update", "kept-nothing", "--data", "new")
    assert_one_line(refused, 5, "without --updatable", "adcli train --config kept-nothing/run.yaml --updatable")
    assert_one_line(adcli("update", "trained", "--data", "nowhere"), 5)
    train(adcli, "first")
    assert_one_line(adcli("update", "first", "--data", "nowhere"), 4, "nowhere")
    assert_one_line(adcli("update", "first", "--data", "new", "--calibration", "5-fold"), 2, "--calibration 5-fold")
    assert_one_line(adcli("update", "first", "--data", "new", "--out", "first"), 9, "first")


@pytest.mark.usefixtures("data")
def test_a_damaged_file_of_what_is_kept_is_named(adcli: Adcli) -> None:
    train(adcli, "first")
    Path("first/updating.safetensors").write_bytes(b"x")
    assert_one_line(adcli("update", "first", "--data", "new", "--out", "u"), 5, "first/updating.safetensors")
    Path("first/updating.safetensors").unlink()
    assert_one_line(adcli("update", "first", "--data", "new", "--out", "u"), 5, "first/updating.safetensors")
    assert not Path("u").exists()
    assert adcli("predict", "first", "new").code in (0, 3)


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("calibrate", KeyboardInterrupt()),
        ("draw_threshold_image", RuntimeError("broken")),
        ("calibrate", MemoryError()),
    ],
)
def test_a_failed_update_leaves_nothing(
    adcli: Adcli, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    train(adcli, "first")
    before = sorted(path for path in Path("first").rglob("*"))
    monkeypatch.setattr(f"adcli.pipeline._train.{step}", failing(error))
    assert adcli("update", "first", "--data", "new", "--out", "updated").code not in (0, 3)
    assert not Path("updated").exists()
    assert not list(Path(".partial").glob("*"))
    assert sorted(path for path in Path("first").rglob("*")) == before


@pytest.mark.usefixtures("data")
def test_a_killed_update_is_no_training_to_go_on_with(adcli: Adcli, monkeypatch: pytest.MonkeyPatch) -> None:
    train(adcli, "first")
    with monkeypatch.context() as patch:
        patch.setattr("adcli.pipeline._train.calibrate", failing(KeyboardInterrupt()))
        patch.setattr("adcli.runs.partial.PartialRun.abandon", lambda self, made: None)
        adcli("update", "first", "--data", "new", "--out", "updated")
    left = ".partial/updated"
    assert_one_line(adcli("train", "--resume", left), 5, "an update that was interrupted", f"adcli runs rm {left}")
    # The same command again has nothing in its way.
    update(adcli, "first", "updated")
    assert not Path(left).exists()


@pytest.mark.usefixtures("data")
def test_an_update_works_from_python(adcli: Adcli) -> None:
    train(adcli, "first")
    updated = pipeline.update(pipeline.load("./first"), "new", out=Path("updated"))
    assert updated.run.record["updates"][0]["run"] == "first"
    assert updated.evaluation is not None
    assert updated.evaluation.metrics["image"]["auroc"] >= 0.5
