"""Tiles from end to end: seams, defects at borders, resuming, several processes, and memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import Adcli, assert_one_line, own_models

from adcli import pipeline
from adcli._plugins.registry import registry
from adcli.data import ImageSource, items_of
from adcli.data.framing import Framing
from adcli.data.tiling import Tiling
from adcli.nn import Batches, Session
from adcli.runs.run import Run

SIZE = (220, 320)
"""Height and width of the photographs: a fabric, the same everywhere but for noise."""

SIDE, STEP = 96, 84
"""Of a tile, and from one to the next."""


def fabric(seed: int, defect: tuple[float, float] | None = None) -> np.ndarray:
    """Return a photograph of fabric, with a light spot of some ten pixels around a point (y, x)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = 120 + 25 * np.sin(x / 2.5) * np.sin(y / 2.5) + random.normal(0, 6, SIZE)
    if defect is not None:
        pixels += 70 * np.exp(-((y - defect[0]) ** 2 + (x - defect[1]) ** 2) / (2 * 3**2))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of fabric, with masks; read only."""
    root = tmp_path_factory.mktemp("data") / "fabric"
    for folder, first, count in (("train/good", 0, 14), ("test/good", 100, 6), ("test/spot", 200, 6)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            place = (40 + 20 * i, 50 + 40 * i) if folder == "test/spot" else None
            Image.fromarray(fabric(first + i, place)).save(root / folder / f"{i:02}.png")
    return root


def settings(data: Path, **more: Any) -> pipeline.TrainSettings:
    given = {
        "model": "patchcore",
        "data": str(data),
        "image_size": str(SIDE),
        "tiles": "4x3",
        "options": {"backbone": "embedded"},
        "false_alarm_rate": 0.2,
        **more,
    }
    return pipeline.TrainSettings(**given)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with tiles; read only."""
    return pipeline.train(settings(data), out=tmp_path_factory.mktemp("runs") / "tiles").run


def test_a_small_defect_is_found_where_it_is(run: Run) -> None:
    for y, x in ((60, 80), (150, 250)):
        (prediction,) = pipeline.predict(run, [fabric(400, (y, x))])
        assert prediction.is_defect
        region = prediction.regions[0]
        assert region.x <= x <= region.x + region.width
        assert region.y <= y <= region.y + region.height


def test_maps_of_good_photographs_are_as_high_at_borders_of_tiles_as_elsewhere(run: Run) -> None:
    """A network sees less of what is around the border of a tile, and so what is there is a little more alike."""
    shared, inner = (np.zeros(run.framing.tiling.find_canvas((SIDE, SIDE)), bool) for _ in range(2))
    for start in range(STEP, min(shared.shape) - (SIDE - STEP), STEP):
        shared[start : start + SIDE - STEP] = True
    for start in range(STEP, max(shared.shape) - (SIDE - STEP), STEP):
        shared[:, start : start + SIDE - STEP] = True
    inner[24:-24, 24:-24] = True
    maps = [it.model_map for it in pipeline.predict(run, [fabric(seed) for seed in range(500, 506)])]
    beside, elsewhere = ([np.median(one[mask & inner]) for one in maps] for mask in (shared, ~shared))
    assert np.mean(beside) == pytest.approx(np.mean(elsewhere), rel=0.2)


def test_a_defect_that_borders_cut_scores_no_lower_than_one_in_the_middle(run: Run) -> None:
    """On average over places that lie differently among the cells of the network."""
    canvas = run.framing.tiling.find_canvas((SIDE, SIDE))
    middle, shared = STEP + SIDE / 2, STEP + (SIDE - STEP) / 2
    random = np.random.default_rng(0)
    scores = {}
    for name, place in {"middle": (middle, middle), "side": (middle, shared), "corner": (shared, shared)}.items():
        places = place + random.uniform(-4, 4, (12, 2))
        images = [fabric(600 + i, tuple(at * SIZE / canvas)) for i, at in enumerate(places)]
        scores[name] = np.mean([it.score for it in pipeline.predict(run, images)])
    assert scores["side"] > 0.9 * scores["middle"]
    assert scores["corner"] > 0.9 * scores["middle"]


@pytest.mark.thorough
def test_a_batch_decides_nothing(run: Run, data: Path) -> None:
    some = [
        [it.score for it in pipeline.predict(pipeline.open_scorer(run, batch_size=size), [data / "test"])]
        for size in (1, 4, 15, 64)
    ]
    for scores in some[1:]:
        assert scores == pytest.approx(some[0], rel=1e-5)


@pytest.mark.thorough
def test_an_interrupted_training_goes_on_to_the_same_scores(
    data: Path, tmp_path: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(data, model="stfpm", tiles="2x2", options={"backbone": "random:resnet18", "epochs": 3})
    whole = pipeline.train(given, out=tmp_path / "whole").run
    from adcli.nn import _checkpoint

    save, seen = _checkpoint.save_checkpoint, []

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        seen.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint, "CHECKPOINT_SECONDS", 0)
        patch.setattr(_checkpoint, "save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.train(given, out=tmp_path / "broken")
    assert seen
    resumed = pipeline.resume(tmp_path / ".partial/broken").run
    scores = [[it.score for it in pipeline.predict(one, [data / "test"])] for one in (whole, resumed)]
    assert scores[0] == scores[1]


@pytest.mark.thorough
def test_two_processes_fit_what_one_fits(data: Path, tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
        command = [sys.executable, *launcher, "-m", "adcli", "train", "-m", "padim", "--data", str(data)]
        command += ["-o", "backbone=random:resnet18", "-o", "dimensions=20", "--image-size", "64", "--tiles", "2x2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--out", str(processes)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        run = pipeline.load(tmp_path / str(processes))
        found[processes] = [it.score for it in pipeline.predict(run, [data / "test"])]
    assert found[2] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.thorough
def test_the_number_of_tiles_is_chosen_and_kept(data: Path, tmp_path: Path, adcli: Adcli) -> None:
    given = (
        "-m",
        "padim",
        "-o",
        "backbone=random:resnet18",
        "-o",
        "dimensions=10",
        "--data",
        data,
        "--calibration",
        "none",
    )
    outcome = adcli("train", *given, "--image-size", 48, "--tiles", "auto", "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "--tiles 4x3, of 48 x 48 pixels each: 168 to learn from." in outcome.err
    assert "hint:" not in outcome.err
    run = pipeline.load("run")
    assert run.settings["tiles"] == "4x3"
    assert run.framing.tiling == Tiling(4, 3)
    outcome = adcli("train", *given, "--image-size", 48, "--tiles", "2x1", "--out", "coarse")
    assert "hint: a pixel of the model covers 3.6 x 4.6 pixels" in outcome.err
    assert "--tiles auto (4x3)" in outcome.err
    outcome = adcli("train", *given, "--image-size", "auto", "--tiles", "2x1", "--out", "auto")
    assert outcome.code == 0
    assert "--image-size 288x224, the aspect of 320 x 220 pixels." in outcome.err


@pytest.mark.thorough
def test_models_on_a_backbone_have_the_photographs_aspect_unless_told(adcli: Adcli, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(fabric(i)[:96, :200]).save(folder / f"{i}.png")
    given = ["--data", folder, "--calibration", "none"]
    padim = ["-m", "padim", "-o", "backbone=random:resnet18", "-o", "dimensions=10", *given]
    for name, words in (("shaped", []), ("asked", ["--image-size", "auto"]), ("square", ["--image-size", "256"])):
        outcome = adcli("train", *padim, *words, "--out", name)
        assert outcome.code == 0, outcome.err
        assert ("--image-size 192x352, the aspect of 200 x 96 pixels." in outcome.err) == (name != "square")
    sizes = [pipeline.load(name).image_size for name in ("shaped", "asked", "square")]
    assert sizes == [(192, 352), (192, 352), (256, 256)]
    outcome = adcli("train", "-m", "ganomaly", *given, "-o", "epochs=1", "--batch-size", 2, "--out", "own")
    assert outcome.code == 0, outcome.err
    assert pipeline.load("own").image_size == (32, 32)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tiles", "4"], ["--tiles must be auto, or COLUMNSxROWS", "not '4'"]),
        (["--tiles", "65x1"], ["--tiles must be"]),
        (["--tile-overlap", "0.6"], ["--tile-overlap", "0.5"]),
        (["--tile-overlap", "0.2"], ["--tile-overlap 0.2: is for --tiles; give both, or neither."]),
        (["--region", "0,0,60,60", "--region", "0,0,50,50"], ["--region must have a name if there are several"]),
        (["--region", "a=0,0,60,60", "--region", "a=0,0,50,50"], ["--region", "two are called 'a'"]),
        (["--image-size", "16", "--tiles", "auto", "--region", "0,0,9000,20"], ["--region 0,0,9000,20"]),
    ],
)
def test_what_are_no_tiles_or_zones_is_one_line(adcli: Adcli, data: Path, options: list[str], words: list[str]) -> None:
    outcome = adcli("train", "-m", "padim", "--data", data, *options)
    assert_one_line(outcome, 4 if "9000" in " ".join(options) else 2, *words)


def test_memory_of_a_fit_does_not_grow_with_the_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held at a time, of photographs of which each is four times what may be held."""
    from adcli.data import source as module

    held = []
    for i in range(12):
        Image.fromarray(fabric(i)).save(tmp_path / f"{i:02}.png")
    source = ImageSource((64, 64), workers=0, cache_bytes=0, framing=Framing(tiling=Tiling(5, 3)))
    height, width = source.framing.find_sheet((64, 64))
    monkeypatch.setattr(module, "PARTED_BYTES", 3 * 3 * height * width)
    batches = Batches(items_of(sorted(tmp_path.glob("*.png"))), source, batch_size=4, session=Session())
    original = ImageSource.fit

    def fit(self: ImageSource, photograph: Any) -> Any:
        held.append(photograph.name)
        return original(self, photograph)

    monkeypatch.setattr(ImageSource, "fit", fit)
    seen = 0
    for images in batches.shuffled(0):
        seen += len(images)
        assert isinstance(images, torch.Tensor)
        # Three at a time, and the next one.
        assert len(held) <= 3 * -(-seen // (3 * 15)) + 1
    assert seen == 12 * 15
    assert len(held) == len(set(held)) == 12


@pytest.fixture(scope="module")
def few(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the good photographs, without any to test; read only."""
    folder = tmp_path_factory.mktemp("data") / "few"
    folder.mkdir()
    for path in sorted((data / "train/good").iterdir())[::2]:
        shutil.copyfile(path, folder / path.name)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("model", own_models())
def test_every_model_takes_tiles_and_zones(model: str, few: Path, tmp_path: Path) -> None:
    spec = registry().models[model].spec
    few_epochs = {"epochs": 2} if "epochs" in spec.options.__dataclass_fields__ else {}
    given = settings(
        few,
        model=model,
        options={**spec.quick, **few_epochs},
        image_size="64",
        tiles="2x1",
        region="left=0,0,160,220 right=160,0,160,220",
        calibration="0.3",
    )
    run = pipeline.train(given, out=tmp_path / "run").run
    assert run.record["data"]["fitted"] == 5
    (prediction,) = pipeline.predict(run, [fabric(700, (110, 80))])
    assert len(prediction.zone_scores) == 2
    assert (prediction.map is None) == (spec.task == "classification")
    if prediction.map is not None:
        assert prediction.map.shape == SIZE
        assert np.isfinite(prediction.map).all()
