"""``--reading scaled``: JPEGs are decoded no finer than the model needs, by a run and by its exports alike."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from support import Adcli

from adcli import pipeline
from adcli.exports.export import Export
from adcli.runs.run import Run

pytestmark = pytest.mark.usefixtures("strangers_plugin")

SIZE = (403, 810)
"""Height and width of the photographs: no multiple of what a decoder makes one pixel of."""

CLOCK = (slice(0, 100), slice(700, 810))
DEFECT = (240, 200, 80, 64)
"""x, y, width and height."""

WAYS = {
    "plain": {"image_size": "48x64"},
    "region": {"image_size": "24x32", "region": "101,51,501,301", "fit": "letterbox", "ignore": "clock.png"},
}
SCALES = {"plain": 4, "region": 4}


def photograph(seed: int, *, defect: bool = False) -> Image.Image:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = 110 + 20 * np.sin(columns / 40) + 15 * np.cos(rows / 31) + random.normal(0, 2, SIZE)
    pixels += random.uniform(-10, 10)
    pixels[CLOCK] = random.integers(0, 255)
    if defect:
        x, y, width, height = DEFECT
        pixels[y : y + height, x : x + width] = 240
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "parts"
    for folder, first, count in (("train/good", 0, 20), ("test/good", 100, 3), ("test/hole", 200, 3)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            image = photograph(first + i, defect=folder == "test/hole")
            exif = Image.Exif()
            if i % 2:
                # As a telephone that was turned saves it.
                image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
            image.save(root / folder / f"{i:02}.jpg", quality=92, exif=exif)
    clock = np.zeros(SIZE, np.uint8)
    clock[CLOCK] = 255
    Image.fromarray(clock).save(root.parent / "clock.png")
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for way, settings in WAYS.items():
        given = {name: str(data.parent / value) if name == "ignore" else value for name, value in settings.items()}
        for reading in ("full", "scaled"):
            settings_ = pipeline.TrainSettings(
                model="mean_image", data=str(data), false_alarm_rate=0.2, reading=reading, **given
            )
            found[way, reading] = pipeline.train(settings_, out=folder / f"{way}-{reading}").run
    return found


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The scale at which each JPEG is decoded."""
    found: list[int] = []
    load = JpegImagePlugin.JpegImageFile.load_prepare

    def note(image: JpegImagePlugin.JpegImageFile) -> None:
        found.append(image.decoderconfig[0] if image.decoderconfig else 1)
        load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_prepare", note)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_every_command_follows_the_run(
    way: str, runs: dict[tuple[str, str], Run], data: Path, adcli: Adcli, scales: list[int]
) -> None:
    run = runs[way, "scaled"]
    assert run.settings["reading"] == "scaled"
    for command in (["predict", run.path, data / "test"], ["bench", run.path, data / "test/good"]):
        del scales[:]
        assert adcli(*command).code == 0
        assert set(scales) == {SCALES[way]}
    expected = {row.path: row.score for row in pipeline.predict(run, [data / "test"])}
    for path, score in expected.items():
        (of_bytes,) = pipeline.predict(run, path.read_bytes())
        assert of_bytes.score == score
        # What was trained on and evaluated were the same pixels.
    stored = [line.split(",") for line in (run.path / "scores.csv").read_text().splitlines()]
    scores = {Path(row[stored[0].index("image")]).name + row[stored[0].index("label")]: row for row in stored[1:]}
    for path, score in expected.items():
        label = "good" if path.parent.name == "good" else "defect"
        assert float(scores[path.name + label][stored[0].index("score")]) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_scores_and_places_are_nearly_those_of_reading_in_full(
    way: str, runs: dict[tuple[str, str], Run], data: Path
) -> None:
    full, scaled = (list(pipeline.predict(runs[way, reading], [data / "test"])) for reading in ("full", "scaled"))
    for one, other in zip(full, scaled, strict=True):
        # What is left of a good photograph is noise, which a decoder and a resizing take out differently.
        assert one.score == pytest.approx(other.score, rel=0.05 if one.is_defect else 0.5)
        assert one.is_defect == other.is_defect
        # Where it is looked at, the clock may be what is found.
        assert way == "plain" or one.is_defect == (one.path.parent.name == "hole")
        assert other.map is not None
        assert other.map.shape == SIZE
        np.testing.assert_array_equal(np.isnan(one.map), np.isnan(other.map))
        for region in other.regions[:1] if way == "region" else ():
            x, y, width, height = DEFECT
            assert region.x <= x + width / 2 <= region.x + region.width
            assert region.y <= y + height / 2 <= region.y + region.height


def test_pictures_show_the_photograph_as_it_is(runs: dict[tuple[str, str], Run], data: Path) -> None:
    for prediction in pipeline.predict(runs["region", "scaled"], [data / "test/hole"]):
        assert prediction.photograph.pixels.shape == (*SIZE, 3)
        upright = np.asarray(photograph(200 + int(prediction.path.stem), defect=True)).astype(int)
        assert np.abs(prediction.photograph.pixels - upright).mean() < 3


@pytest.mark.thorough
@pytest.mark.parametrize("exporter", ["npz", "openvino", "onnx"])
@pytest.mark.parametrize("way", WAYS)
def test_exports_do_the_same_with_and_without_adcli(
    way: str, exporter: str, runs: dict[tuple[str, str], Run], data: Path, tmp_path: Path, scales: list[int]
) -> None:
    run = runs[way, "scaled"]
    export = Export.open(pipeline.export(run, exporter, out=tmp_path / "export").path)
    assert json.loads((export.path / "preparation.json").read_text())["reading"] == "scaled"
    assert export.manifest["measured"]["verdicts"]["unequal"] == 0
    del scales[:]
    images = sorted((data / "test").rglob("*.jpg"))
    found = list(pipeline.predict(export, images))
    assert set(scales) == {SCALES[way]}
    for one, other in zip(found, pipeline.predict(run, images), strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-3)
    if exporter == "npz":
        return
    command = [sys.executable, str(export.path / "example.py"), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line, prediction in zip(done.stdout.splitlines(), found, strict=True):
        score, verdict = line.rpartition(": ")[2].split()
        assert float(score) == pytest.approx(prediction.score, rel=1e-4)
        assert verdict == prediction.verdict
