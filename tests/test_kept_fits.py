"""What a fit cost is never thrown away: what can be seen before it is, and what fails after it costs no more."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from support import Adcli, assert_one_line

from adcli import pipeline
from adcli._plugins.registry import registry
from adcli.errors import DataError, StorageError
from adcli.pipeline import _finishing, _train
from adcli.runs.images import read_images

pytestmark = pytest.mark.usefixtures("strangers_plugin")

QUICK = ("train", "--model", "adcli-mean/mean_image", "--image-size", "64")
TOP = ("metrics.json", "scores.csv", "report.html")


@pytest.fixture
def data(parts: Path, tmp_path: Path) -> Path:
    """A copy of the parts, to be spoiled."""
    return Path(shutil.copytree(parts, tmp_path / "parts")).relative_to(tmp_path)


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that listeners were told of."""
    runs: list[str] = []
    call = type(registry()).call_each

    def note(self: Any, hook: str, **arguments: Any) -> None:
        if hook == "adcli_run_finished":
            runs.append(arguments["run"].name)
        call(self, hook, **arguments)

    monkeypatch.setattr(type(registry()), "call_each", note)
    return runs


def never(*_: object, **__: object) -> Any:
    """Stand for what must not be called."""
    raise AssertionError("this was to be known before")


def failing(error: Exception) -> Callable[..., Any]:
    """Return a step that fails."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def record(run: str) -> dict[str, Any]:
    """Return what a run's file says of what happened."""
    content: dict[str, Any] = yaml.safe_load(Path(run, "run.yaml").read_text())
    return dict(content["record"])


def scores(run: str) -> dict[str, str]:
    """Return the scores of a run's test images, as written."""
    with Path(run, "scores.csv").open() as file:
        return {row["image"]: row["score"] for row in csv.DictReader(file)}


def _overwrite(path: Path) -> None:
    # Each by other bytes: copies of an image are left out as such.
    path.write_text(f"{path}: no image")


def _turn(path: Path) -> None:
    with Image.open(path) as image:
        turned = image.resize((64, 40))
    turned.save(path)


def _enlarge(path: Path) -> None:
    Image.new("RGB", (20, 64)).save(path)


SPOILED: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "an image of the test set": ("test/scratch/003.png", _overwrite, ()),
    "a mask": ("ground_truth/scratch/003_mask.png", _overwrite, ()),
    "a mask of another shape": ("ground_truth/scratch/003_mask.png", _turn, ()),
    "an image too small for the region": ("test/good/003.png", _enlarge, ("--region", "0,0,60,60")),
    "an image too small for the crop": ("test/good/003.png", _enlarge, ("--crop", "60")),
    "an image of the calibration folder": ("calibration/good.png", _overwrite, ("--calibration", "calibration")),
    "an image held out of a fit in one pass": ("train/good/003.png", _overwrite, ()),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_what_a_header_tells_is_said_before_the_fit(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name, spoil, options = SPOILED[kind]
    shutil.copytree(data / "test/good", "calibration")
    path = Path(name) if name.startswith("calibration") else data / name
    path.parent.mkdir(exist_ok=True)
    spoil(path)
    monkeypatch.setattr(_train, "_fit", never)
    outcome = adcli(*QUICK, "--data", data, *options, "--out", "run")
    assert_one_line(outcome, 4, str(path), "--skip-unreadable")
    assert not list(Path().glob("**/run.yaml"))


def test_all_that_headers_tell_is_found_at_once_and_can_be_left_out(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = [data / name for name in ("test/good/001.png", "test/scratch/000.png", "test/scratch/002.png")]
    for path in spoiled:
        _overwrite(path)
    _turn(data / "ground_truth/scratch/004_mask.png")
    with monkeypatch.context() as patch:
        patch.setattr(_train, "_fit", never)
        assert_one_line(adcli(*QUICK, "--data", data, "--out", "run"), 4, str(spoiled[0]), "3 more")
    outcome = adcli(*QUICK, "--data", data, "--out", "run", "--skip-unreadable")
    assert outcome.code == 0, outcome.err
    listed = [line for line in outcome.err.splitlines() if line.startswith("unreadable: ")]
    assert len(listed) == 4
    assert all(any(str(path) in line for line in listed) for path in spoiled)
    before = json.loads(Path("run/metrics.json").read_text())
    assert before["unreadable"] == {"images": 3, "masks": 1}
    assert adcli("evaluate", "run", "--skip-unreadable").code == 0
    after = json.loads(Path("run/metrics.json").read_text())
    assert {**after, "timings": {}} == {**before, "timings": {}}


def test_good_images_of_a_folder_that_headers_tell_to_be_useless_can_be_left_out(
    adcli: Adcli, data: Path, others: Path
) -> None:
    shutil.copytree(others / "test/good", "apart")
    _overwrite(Path("apart/002.png"))
    outcome = adcli(*QUICK, "--data", data, "--calibration", "apart", "--out", "run", "--skip-unreadable")
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.err.splitlines() if line.startswith("skipped: ")] == [
        "skipped: apart/002.png: not an image that can be read."
    ]
    assert record("run")["data"]["skipped"] == 1
    assert sum(image.role == "calibration" for image in read_images(Path("run"))) == 5


def test_validation_images_without_any_defect_that_can_be_read_are_no_validation(
    adcli: Adcli, data: Path, others: Path
) -> None:
    shutil.copytree(others / "test", "validation")
    for path in Path("validation/scratch").iterdir():
        _overwrite(path)
    given = ("--data", data, "--threshold", "f1", "--validation", "validation", "--out", "run")
    assert_one_line(adcli(*QUICK, *given), 4, "validation/scratch/000.png", "5 more")
    assert_one_line(adcli(*QUICK, *given, "--skip-unreadable"), 4, "--threshold f1")


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "data": (DataError("this image: is gone.", remedy="Remove it."), 4, "this image: is gone"),
    "memory": (MemoryError(), 11, "not enough memory"),
    "a full disk": (OSError(28, "No space left on device", "scores.csv"), 9, "No space left on device"),
    "a name too long": (OSError(36, "File name too long", "x" * 300), 9, "File name too long"),
    "storage": (StorageError("cannot write metrics.json."), 9, "cannot write metrics.json"),
    "anything": (ZeroDivisionError("division by zero"), 1, "log.txt"),
}


@pytest.mark.parametrize(
    ("kind", "step"),
    [*((kind, "evaluate_into") for kind in FAILURES), ("data", "write_report"), ("data", "copy_to_top")],
)
def test_a_run_is_finished_without_its_evaluation_and_evaluated_later(
    adcli: Adcli, data: Path, finished: list[str], monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    error, code, words = FAILURES[kind]
    work = getattr(_finishing, step)

    def fail(*arguments: Any, **named: Any) -> None:
        work(*arguments, **named)
        if step != "write_report" or arguments[2] is not None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(_finishing, step, fail)
        outcome = adcli(*QUICK, "--data", data, "--out", "a run")
    assert_one_line(outcome, code, "not evaluated: ", words, "; go on with: adcli evaluate 'a run'")
    assert "threshold" in outcome.out
    assert finished == ["a run"]
    assert words in record("a run")["not_evaluated"]
    assert "not evaluated" in Path("a run/log.txt").read_text()
    assert ("ZeroDivisionError" in Path("a run/log.txt").read_text()) == (kind == "anything")
    assert {image.role for image in read_images(Path("a run"))} == {"fitted", "held-out", "test"}
    left = [path.name for path in Path("a run").iterdir()]
    assert "report.html" in left
    assert not {"evaluations", "metrics.json", "scores.csv"} & {*left}
    assert not Path(".partial").exists()
    assert adcli("evaluate", "a run").code == 0
    assert adcli(*QUICK, "--data", data, "--out", "whole").code == 0
    for name in TOP:
        assert Path("a run", name).is_file()
    assert Path("a run/scores.csv").read_text().count("\n") == Path("whole/scores.csv").read_text().count("\n")
    metrics = [json.loads(Path(run, "metrics.json").read_text()) for run in ("a run", "whole")]
    assert metrics[0]["image"] == metrics[1]["image"]
    assert "not_evaluated" not in record("whole")


def test_what_was_not_evaluated_is_in_the_document_too(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adcli(*QUICK, "--data", data, "--json")
    assert json.loads(whole.out)["not_evaluated"] is None
    monkeypatch.setattr(_finishing, "evaluate_into", failing(MemoryError()))
    outcome = adcli(*QUICK, "--data", data, "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 11
    assert document["metrics"] is None
    assert "go on with: adcli evaluate" in document["not_evaluated"]
    assert Path(document["run"], "report.html").is_file()


@pytest.mark.parametrize(
    "train", [QUICK, ("train", "-m", "patchcore", "--backbone", "random:resnet18", "--image-size", "64")]
)
def test_what_fails_after_the_fit_costs_no_fit(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch, train: tuple[str, ...]
) -> None:
    assert adcli(*train, "--data", data, "--out", "whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(_train, "calibrate", failing(StorageError("cannot write calibration.json: no space.")))
        outcome = adcli(*train, "--data", data, "--out", "run")
    assert_one_line(outcome, 9, "no space")
    assert "go on with: adcli train --resume .partial/run" in outcome.err
    assert not Path("run").exists()
    monkeypatch.setattr(_train, "_fit", never)
    resumed = adcli("train", "--resume", ".partial/run")
    assert resumed.code == 0, resumed.err
    kept, whole = record("run"), record("whole")
    assert {*kept} == {*whole}
    assert kept["weights"] == whole["weights"]
    assert {*kept["timings"]} == {*whole["timings"]}
    assert scores("run") == scores("whole")
    assert Path("run/images.csv").read_bytes() == Path("whole/images.csv").read_bytes()


def test_a_fit_whose_weights_were_damaged_is_made_again(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_train, "calibrate", failing(StorageError("no space.")))
        assert adcli(*QUICK, "--data", data, "--out", "run").code == 9
    weights = Path(".partial/run/model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    resumed = adcli("train", "--resume", "run")
    assert resumed.code == 0, resumed.err
    assert "fitting again" in resumed.err
    assert Path("run/model.safetensors").read_bytes() == whole


def test_test_images_with_the_longest_names_are_evaluated(adcli: Adcli, data: Path) -> None:
    for kind in ("good", "scratch"):
        name = f"{'x' * 247}.png"
        (data / f"test/{kind}/000.png").rename(data / f"test/{kind}" / name)
    (data / "ground_truth/scratch/000_mask.png").rename(data / f"ground_truth/scratch/{'x' * 247}.png")
    outcome = adcli(*QUICK, "--data", data, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert name in Path("run/scores.csv").read_text()
    assert adcli("evaluate", "run").code == 0


CALIBRATIONS = {
    "held-out": ((), {"fitted": 19, "held-out": 5, "test": 12}),
    "folds": (("--calibration", "3-fold"), {"fitted": 24, "test": 12}),
    "none": (("--calibration", "none"), {"fitted": 24, "test": 12}),
    "folder": (("--calibration", "apart"), {"fitted": 24, "calibration": 24, "test": 12}),
    "validation": (
        ("--threshold", "f1", "--validation", "validation"),
        {"fitted": 19, "held-out": 5, "validation": 12, "test": 12},
    ),
}


@pytest.mark.parametrize("how", CALIBRATIONS)
def test_a_run_knows_every_image_it_saw_and_what_for(adcli: Adcli, data: Path, others: Path, how: str) -> None:
    options, expected = CALIBRATIONS[how]
    shutil.copytree(others / "train/good", "apart")
    shutil.copytree(others / "test", "validation")
    outcome = adcli(*QUICK, "--data", data, *options, "--out", "run")
    assert outcome.code == 0, outcome.err
    seen = read_images(Path("run"))
    counts = {role: sum(image.role == role for image in seen) for role in expected}
    assert counts == expected
    assert len(seen) == sum(expected.values())
    folders = {"calibration": Path("apart"), "validation": Path("validation"), "test": data / "test"}
    for name, digest, role in seen:
        content = (folders.get(role, data / "train/good") / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    content = Path("run/images.csv").read_bytes()
    assert record("run")["images"] == hashlib.sha256(content).hexdigest()


def test_copies_of_fitted_images_among_the_others_are_said(adcli: Adcli, data: Path) -> None:
    assert adcli(*QUICK, "--data", data, "--out", "before").code == 0
    fitted = next(image.name for image in read_images(Path("before")) if image.role == "fitted")
    shutil.copy(data / "train/good" / fitted, data / "test/good/000.png")
    outcome = adcli(*QUICK, "--data", data, "--out", "run")
    assert outcome.code == 0
    (warning,) = [line for line in outcome.err.splitlines() if "copies" in line]
    assert "1 of 12 test images are copies" in warning
    assert "good/000.png" in warning


def test_no_file_is_read_in_full_twice_for_its_digest(
    adcli: Adcli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli.data import guarding, splitting

    read: list[Path] = []

    def digest(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    for module in (guarding, splitting):
        monkeypatch.setattr(module, "content_digest", digest)
    outcome = adcli(*QUICK, "--data", data, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert len(read_images(Path("run"))) == 36
    assert len(read) == len(set(read))


@pytest.mark.parametrize("how", ["0.2", "3-fold", "FOLDER"])
def test_a_copy_of_a_test_image_sets_no_threshold_and_that_is_said(adcli: Adcli, data: Path, how: str) -> None:
    options = ["--calibration", "apart" if how == "FOLDER" else how]
    shutil.copytree(data / "train/good", "apart")
    for i, path in enumerate(sorted(Path("apart").iterdir())):
        path.write_bytes(path.read_bytes() + bytes([i]))
    assert adcli(*QUICK, "--data", data, *options, "--out", "before").code == 0
    before = pipeline.load("before").calibration
    name = before.images[-1]
    shutil.copy((Path("apart") if how == "FOLDER" else data / "train/good") / name, data / "test/good/copy.png")
    outcome = adcli(*QUICK, "--data", data, *options, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "left out 1 of" in outcome.err
    assert "test images, or copies" in outcome.err
    after = pipeline.load("run").calibration
    assert (before.n - 1, False) == (after.n, name in after.images)
    (kept,) = pipeline.calibrations(pipeline.load("run"))
    assert kept.left_out == {"test images": 1}
    assert "1 test images" in adcli("calibrate", "run", "--list").out
