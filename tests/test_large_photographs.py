"""Large photographs: as many megapixels as the user allows, as much memory as there is."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import IO

import pytest
from PIL import Image
from support import Adcli, assert_one_line, scored_rows

from adcli.data import decoding, room, tiff
from adcli.data.formats import LIMIT_VARIABLE
from adcli.errors import LackOfMemoryError


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A photograph of two megapixels."""
    Image.new("RGB", (2000, 1000), (90, 80, 70)).save(tmp_path / "large.png")
    return tmp_path / "large.png"


def test_every_command_that_reads_photographs_has_the_option(adcli: Adcli, run: Path, parts: Path) -> None:
    for command in (
        ["train", "-m", "padim", "--data", parts], ["evaluate", run], ["calibrate", run, "--data", parts],
        ["export", run], ["bench", run], ["predict", run, parts], ["report", run], ["datasets", "check", parts],
        ["preview", parts, "--out", "page.html"],
    ):  # fmt: skip
        outcome = adcli(*command, "--max-megapixels", "2001")
        assert_one_line(outcome, 2, "--max-megapixels must be a number of megapixels from 1 to 2000, not '2001'.")


def test_the_option_allows_what_the_variable_does_not_and_leaves_it_as_it_was(
    adcli: Adcli, run: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    refused = adcli("predict", run, large)
    assert refused.code == 4
    assert "--max-megapixels 2 " in refused.err
    assert adcli("predict", run, large, "--max-megapixels", "2").code == 0
    assert os.environ[LIMIT_VARIABLE] == "1"
    assert adcli("predict", run, large).code == 4


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_photograph_that_does_not_fit_into_memory_ends_a_command_with_one_line(
    workers: str, adcli: Adcli, run: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SMALL", 1_000_000)
    monkeypatch.setattr(room, "free_memory", lambda: 2_000_000)
    outcome = adcli("predict", run, large, "--workers", workers)
    assert_one_line(outcome, LackOfMemoryError.exit_code, "large.png: 2000 x 1000 pixels", "shrink it")


@pytest.mark.thorough
def test_a_run_on_regions_of_tiffs_is_that_on_the_same_photographs_in_png(
    adcli: Adcli, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def gather(file: IO[bytes], cut: tiff.Cut) -> tuple[io.BytesIO, str]:
        decoded.append(sum(cut.lengths))
        return tiff.gather(file, cut)

    monkeypatch.setattr(decoding, "gather", gather)
    scores = {}
    for form in ("png", "tif"):
        for image in parts.rglob("*.png"):
            place = tmp_path / form / image.relative_to(parts).with_suffix(f".{form}")
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.open(image).save(place)
        made = adcli(
            *("train", "-m", "dfm", "--backbone", "random:resnet18", "--image-size", "32", "-o", "layers=2"),
            *("--data", tmp_path / form, "--region", "8,4,30,40", "--out", f"run-{form}"),
        )
        assert made.code == 0, made.err
        scores[form] = [row["score"] for row in scored_rows(Path(f"run-{form}"))]
        predicted = adcli(
            "predict", f"run-{form}", tmp_path / form / "test", "--json", "--overlays", "--out", f"out-{form}"
        )
        scores[f"predict {form}"] = [row["score"] for row in json.loads(predicted.out)]
        scores[f"pictures {form}"] = [below_caption(file) for file in sorted(Path(f"out-{form}").rglob("*.png"))]
    for kind in ("", "predict ", "pictures "):
        assert scores[f"{kind}png"] == scores[f"{kind}tif"]
    assert decoded


def below_caption(picture: Path) -> str:
    """Return a digest of what is drawn below the caption, which has the file's name."""
    image = Image.open(picture)
    return hashlib.sha256(image.crop((0, 52, *image.size)).tobytes()).hexdigest()
