"""What cannot be read in a test set costs its row, or its part of the metrics of pixels, and nothing else."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.samples import Sample
from adcli.data.source import ImageSource
from adcli.errors import StorageError
from adcli.pipeline._evaluation_pass import Evaluation, evaluate_into
from adcli.progress import Silent
from adcli.report.gallery import Gallery
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import Origin
from adcli.scoring.runtime import ImageBatch, Scored
from adcli.scoring.scorer import Scorer
from adcli.scoring.verdict import COLUMNS, read_table

SIZE = (8, 8)


def score_brightness(images: ImageBatch) -> Scored:
    maps = images.mean(axis=3).astype(np.float32)
    return maps.mean(axis=(1, 2)), maps


def write_samples(root: Path, count: int = 4) -> list[Sample]:
    """Write dark good images, and bright defects with a mask."""
    samples = []
    for i in range(count):
        for label, level in (("good", 10), ("defect", 200)):
            image, mask = root / f"{label}/{i}.png", root / f"masks/{i}.png"
            for path in (image, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", SIZE, level + i).save(image)
            if label == "defect":
                Image.new("L", SIZE, 255).save(mask)
            samples.append(Sample(image, label, mask if label == "defect" else None, None))  # type: ignore[arg-type]
    return samples


def evaluate(folder: Path, samples: list[Sample]) -> tuple[Evaluation, list[dict[str, str]], list[str]]:
    """Evaluate, and return the rows of the table and what was said as well."""
    progress = Silent()
    calibration = Calibration.conformal([20.0, 50.0], [20.0, 50.0], 0.4, "held-out")
    scorer = Scorer(score_brightness, ImageSource(SIZE, workers=0), calibration, 3, Origin("run", "weights"))
    evaluation = evaluate_into(folder, scorer, samples, progress)
    with (folder / "scores.csv").open(newline="") as file:
        return evaluation, list(csv.DictReader(file)), progress.notes


def test_a_picture_that_cannot_be_drawn_ends_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn in a thread of its own, whose errors would be lost if nobody asked for them."""

    def fail(*_: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(Gallery, "add", fail)
    with pytest.raises(StorageError, match="no room"):
        evaluate(tmp_path / "out", write_samples(tmp_path / "data"))


def test_every_row_is_the_verdict_record_and_what_is_known(tmp_path: Path) -> None:
    _, rows, notes = evaluate(tmp_path / "out", write_samples(tmp_path / "data"))
    assert list(rows[0]) == [*COLUMNS, "label", "defect"]
    assert [row["verdict"] for row in rows] == ["good", "defect"] * 4
    assert {row["run"] for row in rows} == {"run"}
    assert all(bool(row["regions"]) == (row["verdict"] == "defect") for row in rows)
    assert [record.image for record, _ in read_table(tmp_path / "out/scores.csv")][:2] == ["good/0.png", "defect/0.png"]
    assert notes == []


@pytest.mark.parametrize("broken", [[0], [1], [7], [0, 1, 2], list(range(8))])
def test_an_image_that_cannot_be_read_is_a_row_and_changes_no_other(tmp_path: Path, broken: list[int]) -> None:
    samples = write_samples(tmp_path / "data")
    _, whole, _ = evaluate(tmp_path / "whole", samples)
    for i in broken:
        samples[i].image.write_bytes(b"no image")
    evaluation, rows, notes = evaluate(tmp_path / "out", samples)
    assert [row["image"] for row in rows] == [row["image"] for row in whole]
    for i, (row, before) in enumerate(zip(rows, whole, strict=True)):
        if i in broken:
            assert (row["verdict"], row["score"], row["label"]) == ("unreadable", "", before["label"])
            assert row["problem"] == "not an image that can be read."
        else:
            assert row | {"time": ""} == before | {"time": ""}
    assert len(evaluation.tested) == 8 - len(broken)
    assert [sample for sample, _ in evaluation.unreadable] == [samples[i] for i in broken]
    assert json.loads((tmp_path / "out/metrics.json").read_text())["unreadable"] == {"images": len(broken), "masks": 0}
    assert len(notes) == len(broken)
    assert str(tmp_path) not in (tmp_path / "out/scores.csv").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, names are text")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"cr\rname.png", b"new\nline.png", b'quo"te, and comma.png'])
def test_an_image_of_any_name_is_one_row_that_all_readers_of_csv_find(tmp_path: Path, name: bytes) -> None:
    samples = write_samples(tmp_path / "data")
    odd = samples[0].image.rename(samples[0].image.with_name(os.fsdecode(name)))
    _, rows, _ = evaluate(tmp_path / "out", [Sample(odd, "good"), *samples[1:]])
    assert len(rows) == 8
    assert rows[0]["image"] == "good/" + name.decode(errors="backslashreplace").replace("\\xe9", "\\udce9")
    assert rows[0]["score"] == "10.0"


@pytest.mark.parametrize("how", ["damaged", "gone", "an empty folder"])
def test_a_mask_that_cannot_be_read_costs_the_mask_alone(tmp_path: Path, how: str) -> None:
    samples = write_samples(tmp_path / "data")
    mask = samples[1].mask
    assert mask is not None
    mask.unlink()
    if how == "damaged":
        mask.write_bytes(b"no mask")
    elif how == "an empty folder":
        mask.mkdir()
    evaluation, rows, (note,) = evaluate(tmp_path / "out", samples)
    assert len(evaluation.tested) == len(rows) == 8
    assert [bool(row["problem"]) for row in rows] == [False, True, *[False] * 6]
    assert rows[1]["verdict"] == "defect"
    assert "the mask" in rows[1]["problem"]
    assert str(tmp_path) not in (tmp_path / "out/scores.csv").read_text()
    assert str(mask) in note
    assert evaluation.metrics["unreadable"] == {"images": 0, "masks": 1}
    assert evaluation.metrics["image"]["n_defect"] == 4
    assert evaluation.metrics["pixel"]["auroc"] == 1
