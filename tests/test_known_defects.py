"""Known defects to train on: who learns from them, what calibrates, what is recorded, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from support import Adcli, assert_one_line, draw_part

from adcli import pipeline
from adcli.runs.images import read_images

KNOWN = 3
SUPERVISED: dict[str, Any] = {"backbone": "random:resnet18", "layers": "2", "epochs": 2}
TRAIN = ("train", "--model", "supersimplenet", "--image-size", "64", "--data", "photos")
QUICK = (*TRAIN, *(word for name, value in SUPERVISED.items() for word in ("-o", f"{name}={value}")))


@pytest.fixture
def photos(parts: Path, tmp_path: Path) -> Path:
    """A copy of the parts with three known defects, two of which have masks."""
    data = Path(shutil.copytree(parts, tmp_path / "photos"))
    (data / "train/scratch").mkdir()
    (data / "train/ground_truth/scratch").mkdir(parents=True)
    for i in range(KNOWN):
        part, mask = draw_part(50_000 + i, defect=True)
        part.save(data / f"train/scratch/known{i}.png")
        if i < 2:
            mask.save(data / f"train/ground_truth/scratch/known{i}_mask.png")
    return data


@pytest.mark.thorough
def test_a_model_that_learns_from_defects_learns_from_them(adcli: Adcli, photos: Path) -> None:
    outcome = adcli(*QUICK, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "known defects to train on: 3 defective (scratch 3)" in outcome.err
    assert "1 of 3 known defects have no mask" in outcome.err
    run = pipeline.load("run")
    assert run.record["data"]["defects"] == "3 defective (scratch 3)"
    seen = read_images(Path("run"))
    assert [image.name for image in seen if image.role == "known-defect"] == ["known0.png", "known1.png", "known2.png"]
    good = {image.digest for image in seen if image.role == "held-out"}
    assert set(run.calibration.digests) == good
    shutil.rmtree(photos / "train/scratch")
    assert adcli(*QUICK, "--out", "unaware").code == 0
    assert pipeline.load("unaware").record["weights"] != run.record["weights"]


def test_patience_is_refused_as_known_defects_are_too_few_to_hold_some_out(adcli: Adcli, photos: Path) -> None:
    outcome = adcli(*QUICK, "--patience", 2, "--out", "run")
    assert_one_line(outcome, 2, "--patience holds images out", "known defects are too few")
    assert not Path("run").exists()


@pytest.mark.thorough
def test_training_with_known_defects_is_repeatable(adcli: Adcli, photos: Path) -> None:
    assert adcli(*QUICK, "--out", "first").code == 0
    assert adcli("train", "--config", "first/run.yaml", "--out", "second").code == 0
    first, second = (pipeline.load(name).record["weights"] for name in ("first", "second"))
    assert first == second


def test_other_models_say_that_they_leave_them_out(adcli: Adcli, photos: Path) -> None:
    outcome = adcli(
        "train", "-m", "padim", "-o", "backbone=random:resnet18", "--image-size", 64, "--data", photos, "--out", "run"
    )
    assert outcome.code == 0, outcome.err
    assert "padim learns from good images alone: left out the defects among the training images, 3 def" in outcome.err
    assert "defects" not in pipeline.load("run").record["data"]
    assert not [image for image in read_images(Path("run")) if image.role == "known-defect"]


def test_tables_name_known_defects_as_training_images(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    rows = [{"image": str(path), "label": "good", "split": "train"} for path in (photos / "train/good").iterdir()]
    rows += [{"image": str(path), "label": "ng", "split": "test"} for path in (photos / "test/scratch").iterdir()]
    for i in range(KNOWN):
        mask = photos / f"train/ground_truth/scratch/known{i}_mask.png"
        row = {
            "image": str(photos / f"train/scratch/known{i}.png"),
            "label": "ng",
            "split": "train",
            "defect": "scratch",
        }
        rows.append(row | ({"mask": str(mask)} if mask.exists() else {}))
    (tmp_path / "table.json").write_text(json.dumps(rows))
    outcome = adcli(*QUICK[:-8], "--data", "table:table.json", *QUICK[-6:], "--out", "run")
    assert outcome.code == 0, outcome.err
    assert pipeline.load("run").record["data"]["defects"] == "3 defective (scratch 3)"


def test_a_test_image_that_is_a_known_defect_is_said(adcli: Adcli, photos: Path) -> None:
    shutil.copy(photos / "train/scratch/known0.png", photos / "test/scratch/again.png")
    outcome = adcli(*QUICK, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "scratch/again.png" in outcome.err
    known = json.loads(Path("run/metrics.json").read_text())["known"]
    assert (known["fitted"], known["example"]) == (1, "scratch/again.png")
    found = adcli("datasets", "check", photos)
    assert found.code == 4
    assert "defects     3 defect, 2 masks" in found.out
    assert "in the test split, has the same pixels as" in found.out


def test_what_contradicts_itself_is_refused_before_the_fit(adcli: Adcli, photos: Path) -> None:
    mask = photos / "train/ground_truth/scratch/known0_mask.png"
    for spoil, words in (
        (lambda: Image.new("L", (64, 64)).save(mask), "known0_mask.png: marks nothing"),
        (lambda: Image.new("L", (64, 32), 255).save(mask), "a different shape from"),
        (lambda: mask.write_bytes(b"no image"), "known0_mask.png"),
    ):
        spoil()
        assert_one_line(adcli(*QUICK, "--out", "run"), 4, words)
    mask.unlink()
    shutil.copy(photos / "train/good/000.png", photos / "train/scratch/known1.png")
    assert_one_line(adcli(*QUICK, "--out", "run"), 4, "known1.png: is a defect, but its copy", "is good; remove one")
    assert not Path("run").exists()


def test_a_mask_of_two_images_is_refused(adcli: Adcli, photos: Path) -> None:
    (photos / "train/scratch/known0.png").rename(photos / "train/scratch/000.png")
    assert_one_line(adcli(*QUICK, "--out", "run"), 4, "000_mask.png: is found as the mask of", "train/ground_truth")


def test_an_unreadable_known_defect_ends_the_training_or_is_skipped(adcli: Adcli, photos: Path) -> None:
    (photos / "train/scratch/known2.png").write_bytes(b"no image")
    assert_one_line(adcli(*QUICK, "--out", "run"), 4, "known2.png")
    outcome = adcli(*QUICK, "--skip-unreadable", "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "skipped: " in outcome.err
    assert pipeline.load("run").record["data"]["defects"] == "2 defective (scratch 2)"


def test_tiles_need_masks(adcli: Adcli, photos: Path) -> None:
    tiles = ("--tiles", "2x2", "--out", "run")
    assert_one_line(adcli(*QUICK, *tiles), 4, "known2.png: a known defect without a mask, and with --tiles")
    (photos / "train/scratch/known2.png").unlink()
    outcome = adcli(*QUICK, *tiles)
    assert outcome.code == 0, outcome.err


def test_a_good_image_to_calibrate_with_is_no_known_defect(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    shutil.copytree(photos / "test/good", apart)
    shutil.rmtree(photos / "test")
    shutil.copy(photos / "train/scratch/known0.png", apart / "mistaken.png")
    outcome = adcli(*QUICK, "--calibration", apart, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "left out 1 of 7 images: the model is fitted to them, or to copies" in outcome.err
    later = adcli("calibrate", "run", "--data", apart)
    assert "left out 1 of 7 images: the model is fitted to them, or to copies" in later.err


@pytest.mark.parametrize("what", ["image", "mask"])
def test_a_training_is_not_resumed_with_other_known_defects(
    adcli: Adcli, photos: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train.calibrate", interrupt)
        assert adcli(*QUICK, "--out", "half").code == 130
    part, mask = draw_part(60_000, defect=True)
    if what == "image":
        part.save(photos / "train/scratch/known1.png")
        words = "the known defects have changed since (known1.png has another content)"
    else:
        mask.save(photos / "train/ground_truth/scratch/known1_mask.png")
        words = "the masks of the known defects have changed since"
    assert_one_line(adcli("train", "--resume", "half"), 5, words)


def test_a_training_is_resumed_with_the_known_defects_it_had(
    adcli: Adcli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("adcli.pipeline._train.calibrate", interrupt)
        assert adcli(*QUICK, "--out", "half").code == 130
    (kept,) = Path(".partial").glob("*/run.yaml")
    assert yaml.safe_load(kept.read_text())["record"]["data"]["defects"] == "3 defective (scratch 3)"
    outcome = adcli("train", "--resume", "half")
    assert outcome.code == 0, outcome.err
    assert len([image for image in read_images(Path("half")) if image.role == "known-defect"]) == KNOWN


@pytest.mark.thorough
def test_a_model_that_learnt_from_defects_is_exported(adcli: Adcli, photos: Path) -> None:
    assert adcli(*QUICK, "--out", "run").code == 0
    for exporter in ("onnx", "openvino"):
        outcome = adcli("export", "run", "--to", exporter, "--out", exporter)
        assert outcome.code == 0, outcome.err
        measured = yaml.safe_load(Path(exporter, "manifest.yaml").read_text())["measured"]
        assert max(measured["score_difference"], measured["map_difference"]) < 1e-3
        known = Path(exporter, "fitted.txt").read_text()
        assert all(image.digest in known for image in read_images(Path("run")) if image.role == "known-defect")
