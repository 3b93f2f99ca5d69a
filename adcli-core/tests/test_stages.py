"""Where the time of a photograph goes is measured in parts that add up to all of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adcli import pipeline
from adcli.data.source import ImageSource
from adcli.nn.backbones import Backbone
from adcli.nn.runtime import ModelRuntime
from adcli.pipeline import _stages
from adcli.pipeline._stages import time_stages
from adcli.scoring import Scorer


@pytest.fixture
def trained(tmp_path: Path) -> tuple[object, object, list[Path]]:
    random = np.random.default_rng(0)
    for folder, count in (("train/good", 6), ("test/good", 1), ("test/hole", 1)):
        (tmp_path / "parts" / folder).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
                tmp_path / "parts" / folder / f"{i}.png"
            )
    options = {"backbone": "random:resnet18", "layers": "1"}
    settings = pipeline.TrainSettings(
        model="padim", data=str(tmp_path / "parts"), image_size="32", options=options, calibration="none"
    )
    run = pipeline.train(settings, out=tmp_path / "run").run
    return run, pipeline.open_scorer(run, batch_size=1), sorted((tmp_path / "parts/test").rglob("*.png"))


def test_each_stage_gets_its_time_and_the_backbone_is_told_apart(
    trained: tuple[object, object, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scorer, images = trained
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_stages, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def slow(owner: type, name: str, seconds: float) -> None:
        work = getattr(owner, name)

        def slowly(*given: object) -> object:
            clock.now += seconds
            return work(*given)

        monkeypatch.setattr(owner, name, slowly)

    slow(ImageSource, "open", 1)
    slow(ImageSource, "fit", 2)
    slow(Backbone, "forward", 4)
    slow(ModelRuntime, "_score", 8)
    slow(Scorer, "judge", 16)
    stages = time_stages(scorer, run, images, 3)  # type: ignore[arg-type]
    assert stages == {"decode": 1, "resize": 2, "network": 4, "head": 8, "verdict": 16}
    assert list(stages) == ["decode", "resize", "network", "head", "verdict"]


def test_nothing_stays_in_the_model(trained: tuple[object, object, list[Path]]) -> None:
    run, scorer, images = trained
    time_stages(scorer, run, images, 1)  # type: ignore[arg-type]
    backbone = scorer.runtime.model.backbone  # type: ignore[attr-defined]
    assert not backbone._forward_hooks
    assert not backbone._forward_pre_hooks
