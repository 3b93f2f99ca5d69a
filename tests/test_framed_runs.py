"""Region, crop, letterbox and ignored areas: in a run, in what it says of images, and in its exports."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from support import Adcli, assert_one_line

from adcli import pipeline
from adcli._files import seal
from adcli.data.decoding import Size
from adcli.data.framing import parse_framing
from adcli.errors import RunError
from adcli.exports.export import Export
from adcli.pipeline._bench import draw_for
from adcli.pipeline.metrics_in_force import metrics_in_force
from adcli.runs.run import Run

pytestmark = pytest.mark.usefixtures("strangers_plugin")
SIZE = (120, 200)
"""Height and width of the photographs: a part on a still ground, and a clock beside it that no two show alike."""

CLOCK = (slice(0, 30), slice(150, 200))
DEFECT = (60, 70, 16, 24)
"""x, y, width and height of what is wrong with a defective part."""

BOXED = {"region": "20,40,120,70"}
WAYS: dict[str, dict[str, str]] = {
    "region": BOXED,
    "crop": {"crop": "90x100"},
    "crop of a region": {"region": "10,20,130,100", "crop": "80x120"},
    "letterbox": {**BOXED, "fit": "letterbox"},
    "ignore": {"ignore": "CLOCK"},
    "ignore in a letterbox": {"ignore": "CLOCK", "fit": "letterbox"},
    "tiles of a region": {**BOXED, "tiles": "3x2"},
    "zones": {"region": "upper=20,20,125,60 lower=20,60,125,60"},
    "zones in tiles": {"region": "upper=20,20,125,60 lower=20,60,125,60", "tiles": "2x1", "ignore": "CLOCK"},
    "ignore in tiles of a letterbox": {"ignore": "CLOCK", "fit": "letterbox", "tiles": "2x2", "tile_overlap": "0.3"},
}


def photograph(seed: int, *, defect: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    pixels = 110 + 20 * np.sin(np.mgrid[: SIZE[0], : SIZE[1]][1] / 9) + random.normal(0, 2, SIZE)
    pixels += random.uniform(-20, 20)
    pixels[CLOCK] = 255 * random.integers(0, 2, (3, 5)).repeat(10, axis=0).repeat(10, axis=1)
    if defect:
        x, y, width, height = DEFECT
        pixels[y : y + height, x : x + width] = 240
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with masks; read only."""
    root = tmp_path_factory.mktemp("data") / "parts"
    for folder, first, count in (("train/good", 0, 24), ("test/good", 100, 4), ("test/hole", 200, 4)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = photograph(first + i, defect=folder == "test/hole")
            Image.fromarray(pixels).save(root / folder / f"{i:02}.png")
    (root / "ground_truth/hole").mkdir(parents=True)
    x, y, width, height = DEFECT
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + height, x : x + width] = 255
    for i in range(4):
        Image.fromarray(mask).save(root / f"ground_truth/hole/{i:02}_mask.png")
    clock = np.zeros(SIZE, np.uint8)
    clock[CLOCK] = 255
    Image.fromarray(clock).save(root.parent / "clock.png")
    return root


def train(data: Path, out: Path, **settings: Any) -> Run:
    """Train the stranger's model, without the clock where that is asked for."""
    if settings.get("ignore") == "CLOCK":
        settings["ignore"] = str(data.parent / "clock.png")
    given = {"model": "mean_image", "image_size": "48", "false_alarm_rate": 0.2, "data": str(data), **settings}
    return pipeline.train(pipeline.TrainSettings(**given), out=out).run


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run for each way; read only."""
    folder = tmp_path_factory.mktemp("runs")
    return {way: train(data, folder / way.replace(" ", "-"), **settings) for way, settings in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
def test_a_defect_is_found_where_it_is_in_the_image(runs: dict[str, Run], data: Path, way: str) -> None:
    x, y, width, height = DEFECT
    for prediction in pipeline.predict(runs[way], [data / "test/hole"]):
        assert prediction.is_defect
        found = prediction.regions[0]
        assert found.x <= x
        assert found.y <= y
        assert found.x + found.width >= x + width
        assert found.y + found.height >= y + height
        assert prediction.map is not None
        hot = prediction.map > 0.5 * np.nanmax(prediction.map)
        rows, columns = (np.flatnonzero(hot.any(axis=axis)) for axis in (1, 0))
        # The map is made of 6 x 6 blocks of what was looked at.
        ends = np.array([[columns[0], x], [columns[-1] + 1, x + width], [rows[0], y], [rows[-1] + 1, y + height]])
        assert np.abs(ends[:2, 0] - ends[:2, 1]).max() <= SIZE[1] / 6
        assert np.abs(ends[2:, 0] - ends[2:, 1]).max() <= SIZE[1] / 6


@pytest.mark.parametrize("way", WAYS)
def test_files_of_maps_and_masks_are_of_the_whole_photograph(
    runs: dict[str, Run], data: Path, tmp_path: Path, way: str
) -> None:
    for said in pipeline.predict(runs[way], [data / "test"]):
        pipeline.write_map(said, tmp_path / "a.tiff")
        pipeline.write_mask(said, tmp_path / "a.png")
        anomaly_map, mask = (np.asarray(Image.open(tmp_path / name)) for name in ("a.tiff", "a.png"))
        np.testing.assert_array_equal(anomaly_map, said.map)
        assert np.isnan(anomaly_map).any()
        assert mask.shape == SIZE
        assert not mask[np.isnan(anomaly_map)].any()
        assert mask.any() == said.is_defect
        # Zones are marked by their own thresholds, and those that are good not at all.
        inside = np.zeros(SIZE, bool)
        for region in said.regions:
            inside[region.y : region.y + region.height, region.x : region.x + region.width] = True
        assert (mask > 0).sum() == sum(region.area for region in said.regions)
        assert not mask[~inside].any()


@pytest.mark.parametrize("way", WAYS)
def test_the_clock_beside_the_part_says_nothing(runs: dict[str, Run], data: Path, tmp_path: Path, way: str) -> None:
    pixels = photograph(7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pixels[CLOCK] = 0
    Image.fromarray(pixels).save(tmp_path / "b.png")
    one, other = pipeline.predict(runs[way], tmp_path)
    assert one.score == other.score
    assert one.map is not None
    assert one.map.shape == SIZE
    assert np.isnan(one.map[CLOCK]).all()
    assert not np.isnan(one.map[45:105, 50:130]).any()


def test_without_preparation_the_clock_is_what_is_found(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "run")
    (prediction, *_) = pipeline.predict(run, [data / "test/hole"])
    assert prediction.map is not None
    assert prediction.map[CLOCK].max() > 0.5 * np.nanmax(prediction.map)


@pytest.mark.parametrize("way", WAYS)
def test_pixel_metrics_are_of_the_whole_image_where_it_was_looked_at(runs: dict[str, Run], way: str) -> None:
    metrics = json.loads((runs[way].path / "metrics.json").read_text())
    assert metrics["image"]["auroc"] == 1
    assert metrics["pixel"]["auroc"] > 0.95
    assert "unseen" not in metrics["pixel"]


def test_a_defect_outside_of_the_region_is_missed_and_said_to_be(data: Path, tmp_path: Path, adcli: Adcli) -> None:
    run = train(data, tmp_path / "run", region="68,40,100,70")
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["pixel"]["unseen"] == pytest.approx(0.5)
    assert 0.4 < metrics["pixel"]["auroc"] < 0.6
    shown = adcli("runs", "show", run.path).out
    for text in (shown, (run.path / "report.html").read_text()):
        assert "50.0% of the defective pixels lie where nothing was looked at" in text


def test_zones_are_calibrated_again_and_at_the_best_f1(runs: dict[str, Run], data: Path, tmp_path: Path) -> None:
    run = pipeline.load(shutil.copytree(runs["zones"].path, tmp_path / "run"))
    before = [(it.score, it.is_defect, it.zones) for it in pipeline.predict(run, [data / "test"])]
    assert {zones for _, is_defect, zones in before if is_defect} <= {("upper",), ("lower",), ("upper", "lower")}
    assert not any(zones for _, is_defect, zones in before if not is_defect)
    pipeline.recalibrate(run, threshold="f1", validation=str(data / "test"))
    shown, words = metrics_in_force(pipeline.load(run.path))
    assert (words, shown["image"]["detection_rate"]) == ("", 1.0)
    found = [(it.score, it.verdict) for it in pipeline.predict(pipeline.load(run.path), [data / "test"])]
    assert [score for score, _ in found] == [score for score, _, _ in before]
    assert [verdict for _, verdict in found] == ["good"] * 4 + ["defect"] * 4
    good = tmp_path / "good"
    shutil.copytree(data / "test/good", good)
    again = pipeline.recalibrate(pipeline.load(run.path), str(good)).calibration
    assert again.n == 4
    assert set(again.zones) == {"upper", "lower"}
    shown, words = metrics_in_force(pipeline.load(run.path))
    assert "stand among other good images than those that calibrate the run now; evaluate it again" in words
    assert "false_alarm_rate" not in shown["image"]


@pytest.mark.parametrize(
    ("region", "crop", "ignored"),
    [
        ("40,300,20,500", None, None),
        ("a=0,0,700,20 b=5,300,20,20", None, None),
        (None, "20x900", None),
        ("a=0,0,700,20", None, (30, 40)),
        (None, None, (600, 400)),
    ],
)
def test_bench_draws_images_that_suit_the_run(region: str | None, crop: str | None, ignored: Size | None) -> None:
    framing = parse_framing(region, crop, "squash", None if ignored is None else np.zeros(ignored, bool))
    with draw_for(framing) as images, Image.open(images[0]) as image:
        framing.check((image.height, image.width), "drawn")


def test_thresholds_of_zones_in_another_order_are_refused(runs: dict[str, Run], data: Path, tmp_path: Path) -> None:
    path = shutil.copytree(runs["zones"].path, tmp_path / "run")
    content = json.loads((path / "calibration.json").read_text())
    content["zones"] = dict(reversed(content["zones"].items()))
    (path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(
        RunError, match=r"calibration\.json: zones are lower, upper, but those looked at are upper, lower"
    ):
        list(pipeline.predict(pipeline.load(path), [data / "test"]))


def test_zones_are_named_without_good_images_as_well(data: Path, tmp_path: Path) -> None:
    zones = "upper=50,20,100,50 lower=50,60,100,50"
    run = train(data, tmp_path / "run", region=zones, calibration="none", threshold="-1e9")
    for found in pipeline.predict(run, [data / "test/hole"]):
        assert found.zones == ("upper", "lower")
        assert found.regions


def test_a_training_sets_the_threshold_of_zones_at_the_best_f1_or_at_a_value(data: Path, tmp_path: Path) -> None:
    for folder, first in (("good", 800), ("hole", 900)):
        (tmp_path / "labelled" / folder).mkdir(parents=True)
        for i in range(3):
            pixels = photograph(first + i, defect=folder == "hole")
            Image.fromarray(pixels).save(tmp_path / "labelled" / folder / f"{i}.png")
    given = WAYS["zones"] | {"threshold": "f1", "validation": str(tmp_path / "labelled")}
    run = train(data, tmp_path / "f1", **given)
    assert [it.verdict for it in pipeline.predict(run, [data / "test"])] == ["good"] * 4 + ["defect"] * 4
    run = train(data, tmp_path / "value", **WAYS["zones"], threshold="1000", calibration="3-fold")
    assert {it.verdict for it in pipeline.predict(run, [data / "test"])} == {"good"}
    run = train(data, tmp_path / "none", **WAYS["zones"], calibration="none")
    assert {it.verdict for it in pipeline.predict(run, [data / "test"])} == {""}


def list_exported(ways: Iterable[str], exporters: Sequence[str]) -> list[Any]:
    """Return each way with each exporter; what one exporter does alike in all ways is thorough in most of them."""
    return [
        pytest.param(way, exporter, marks=[pytest.mark.thorough] if exporter == "onnx" and i else [])
        for i, way in enumerate(sorted(ways, reverse=True))
        for exporter in exporters
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(("way", "exporter"), list_exported(WAYS, ["npz", "openvino", "onnx"]))
def test_an_export_agrees_with_its_run(
    runs: dict[str, Run], data: Path, tmp_path: Path, way: str, exporter: str
) -> None:
    export = pipeline.export(runs[way], exporter, out=tmp_path / "export")
    measured = export.manifest["measured"]
    assert measured["score_difference"] < 1e-3
    assert measured["verdicts"]["unequal"] == 0
    shutil.move(export.path, tmp_path / "elsewhere")
    moved = pipeline.find(tmp_path / "elsewhere")
    pairs = zip(pipeline.predict(moved, [data / "test"]), pipeline.predict(runs[way], [data / "test"]), strict=True)
    for found, expected in pairs:
        assert found.score == pytest.approx(expected.score, rel=1e-3)
        assert found.is_defect == expected.is_defect
        boxes = ([(it.x, it.y, it.width, it.height) for it in prediction.regions] for prediction in (found, expected))
        assert next(boxes) == next(boxes)
        assert found.map is not None
        np.testing.assert_allclose(found.map, expected.map, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("way", "exporter"),
    list_exported(
        ["crop of a region", "ignore in a letterbox", "tiles of a region", "zones"],
        ["openvino", "onnx"],
    ),
)
def test_the_example_in_an_export_prepares_images_too(
    runs: dict[str, Run], data: Path, tmp_path: Path, way: str, exporter: str
) -> None:
    export = pipeline.export(runs[way], exporter, out=tmp_path / "export")
    image = data / "test/hole/00.png"
    command = [sys.executable, str(export.path / "example.py"), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (expected,) = pipeline.predict(export, image)
    *scores, verdict = done.stdout.strip().rpartition(": ")[2].split()
    found = [float(score) for score in (scores[1::2] if expected.zone_scores else scores)]
    assert found == pytest.approx(list(expected.zone_scores) or [expected.score], rel=1e-3)
    assert verdict == "defect"


def test_an_export_without_its_preparation_is_refused(runs: dict[str, Run], tmp_path: Path, adcli: Adcli) -> None:
    export = pipeline.export(runs["ignore in a letterbox"], "npz", out=tmp_path / "export")
    assert {"preparation.json", "prepare.py", "ignore.png"} < set(export.manifest["files"])
    (tmp_path / "a.png").write_bytes((export.path / "ignore.png").read_bytes())
    for name in ("ignore.png", "preparation.json"):
        content = (export.path / name).read_bytes()
        (export.path / name).write_bytes(content.replace(b"letterbox", b"squash   ") + b" ")
        assert_one_line(adcli("predict", export.path, tmp_path / "a.png"), 10, name, "digest differs")
        (export.path / name).unlink()
        assert_one_line(adcli("predict", export.path, tmp_path / "a.png"), 10, name)
        (export.path / name).write_bytes(content)


def test_the_check_of_an_export_sees_the_preparation(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli_mean import runtime

    seen = set()
    resize = runtime.resize

    def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        seen.add(pixels.shape[:2])
        return resize(pixels, size)

    monkeypatch.setattr(runtime, "resize", resized)
    pipeline.export(runs["crop"], "npz", out=tmp_path / "export")
    # Calibrated on what the core resized, and compared on what was cut.
    assert seen == {(48, 48), (90, 100)}


def test_a_run_holds_its_own_ignored_areas(data: Path, tmp_path: Path, adcli: Adcli) -> None:
    shutil.copyfile(data.parent / "clock.png", tmp_path / "gone.png")
    run = train(data, tmp_path / "run", ignore=str(tmp_path / "gone.png"))
    before = [prediction.score for prediction in pipeline.predict(run, [data / "test"])]
    (tmp_path / "gone.png").unlink()
    moved = pipeline.load(shutil.move(run.path, tmp_path / "moved"))
    assert [prediction.score for prediction in pipeline.predict(moved, [data / "test"])] == before
    assert_one_line(adcli("train", "--config", moved.path / "run.yaml", "--out", "again"), 4, "gone.png")
    ignored = np.asarray(Image.open(moved.path / "ignore.png")).copy()
    ignored[100, 100] = True
    Image.fromarray(ignored).save(moved.path / "ignore.png")
    assert_one_line(adcli("predict", moved.path, data / "test"), 5, "ignore.png", "changed or damaged")
    (moved.path / "ignore.png").unlink()
    assert_one_line(adcli("predict", moved.path, data / "test"), 5, "ignore.png", "copy the whole run folder")


def test_an_interrupted_run_goes_on_with_the_areas_it_began_with(
    data: Path, tmp_path: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli_mean.model import MeanImage

    clock = shutil.copyfile(data.parent / "clock.png", tmp_path / "clock.png")
    with monkeypatch.context() as patch:
        patch.setattr(MeanImage, "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        arguments = ("--image-size", 48, "--data", data, "--ignore", "clock.png", "--out", "run")
        assert adcli("train", "-m", "mean_image", *arguments).code == 130
    clock.write_bytes((data / "ground_truth/hole/00_mask.png").read_bytes())
    # Copies, as this process still holds the locks of the runs that it was thrown out of.
    for copy in ("one", "two"):
        shutil.copytree(".partial/run", f".partial/{copy}")
    assert_one_line(adcli("train", "--resume", ".partial/one"), 5, "--ignore has changed")
    shutil.copyfile(data.parent / "clock.png", clock)
    assert adcli("train", "--resume", ".partial/two").code == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open("two/ignore.png")), np.asarray(Image.open(data.parent / "clock.png")) > 0
    )


def test_evaluation_calibration_pictures_and_timing_follow_the_run(
    runs: dict[str, Run], data: Path, tmp_path: Path, adcli: Adcli
) -> None:
    path = shutil.copytree(runs["ignore in a letterbox"].path, tmp_path / "run")
    run = pipeline.load(path)
    evaluation, _ = pipeline.evaluate(run, str(data), name="again")
    expected = json.loads((path / "metrics.json").read_text())
    assert evaluation.metrics["image"] == expected["image"]
    assert evaluation.metrics["pixel"] == expected["pixel"]
    good = tmp_path / "good"
    shutil.copytree(data / "test/good", good)
    scores = [prediction.score for prediction in pipeline.predict(run, good)]
    recalibrated = pipeline.recalibrate(run, str(good))
    assert sorted(scores) == list(recalibrated.calibration.image_scores)
    outcome = adcli("predict", path, data / "test/hole/00.png", "--overlays", "--out", "seen", "--json")
    assert outcome.code == 0, outcome.err
    drawn = np.asarray(Image.open("seen/maps/00.png.png")).astype(int)
    assert drawn.shape[0] > 200
    assert adcli("bench", path, data / "test/hole").code == 0
    page = (path / "report.html").read_text()
    for words in ("48x48, letterbox", "without clock.png", "dark: not looked at"):
        assert words in page
    assert "48x48, 3x2 tiles" in (runs["tiles of a region"].path / "report.html").read_text()


def test_a_run_of_before_has_no_preparation(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "run")
    content = yaml.safe_load((run.path / "run.yaml").read_text())
    for name in ("digest", "region", "crop", "fit", "ignore"):
        del content[name]
    expected = [prediction.score for prediction in pipeline.predict(run, [data / "test"])]
    (run.path / "run.yaml").write_text(seal(content))
    found = [prediction.score for prediction in pipeline.predict(pipeline.load(run.path), [data / "test"])]
    assert found == expected
    assert isinstance(pipeline.export(pipeline.load(run.path), "npz"), Export)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--region", "100,100,120,20"], 4, [".png", "200 pixels wide and 120 high", "--region 100,100,120,20"]),
        (["--crop", "130x100"], 4, [".png", "--crop 130x100"]),
        (["--crop", "10"], 2, ["--crop must be", "not '10'"]),
        (["--region", "1,2,3"], 2, ["--region must be", "not '1,2,3'"]),
        (["--fit", "fill"], 2, ["--fit must be squash or letterbox"]),
        (["--ignore", "nothing.png"], 4, ["nothing.png"]),
    ],
)
def test_what_does_not_suit_is_one_line(
    adcli: Adcli, data: Path, options: list[str], code: int, words: list[str]
) -> None:
    assert_one_line(adcli("train", "--model", "mean_image", "--data", data, *options), code, *words)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_an_image_too_small_to_predict_is_named_and_costs_no_other(
    runs: dict[str, Run], data: Path, tmp_path: Path, adcli: Adcli
) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "small.png")
    run, images = runs["region"].path, [tmp_path / "small.png", data / "test/hole/00.png"]
    assert_one_line(adcli("predict", run, *images), 4, "small.png", "--region 20,40,120,70")
    outcome = adcli("predict", run, *images, "--skip-unreadable", "--json")
    assert outcome.code == 0
    assert "1 unreadable" in outcome.err
    small, other = json.loads(outcome.out)
    assert (small["verdict"], other["problem"]) == ("unreadable", "")
    assert "--region 20,40,120,70" in small["problem"]


@pytest.mark.thorough
def test_if_no_photograph_suits_that_is_said(data: Path, adcli: Adcli, tmp_path: Path) -> None:
    zones = ("--region", "a=0,0,40,40", "--region", "b=9000,0,40,40")
    outcome = adcli("train", "-m", "padim", "--data", data, *zones, "--skip-unreadable", "--out", "run")
    assert_one_line(outcome, 4, "none of the", "good images can be used", "b=9000,0,40,40")
    assert not (tmp_path / "run").exists()
