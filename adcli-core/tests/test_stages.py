"""Where the time of a photograph goes is measured in parts that add up to all of it."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adcli.nn.backbones import Backbone
from adcli.pipeline import _stages
from adcli.pipeline._stages import time_stages


@pytest.fixture
def trained(tmp_path: Path) -> tuple[object, object, list[Path]]:
    from adcli import pipeline

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


def test_the_time_of_the_backbone_is_told_apart_and_all_stages_add_up(
    trained: tuple[object, object, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scorer, images = trained
    whole: list[float] = []
    measure = _stages._time

    def noted(*given: object) -> dict[str, float]:
        began = time.perf_counter()
        found = measure(*given)  # type: ignore[arg-type]
        whole.append(time.perf_counter() - began - sum(found.values()))
        return found

    monkeypatch.setattr(_stages, "_time", noted)
    forward = Backbone.forward

    def slowly(backbone: Backbone, pixels: torch.Tensor) -> list[torch.Tensor]:
        time.sleep(0.05)
        return forward(backbone, pixels)

    monkeypatch.setattr(Backbone, "forward", slowly)
    stages = time_stages(scorer, run, images, 3)  # type: ignore[arg-type]
    assert list(stages) == ["decode", "resize", "network", "head", "verdict"]
    assert stages["network"] >= 0.05
    assert stages["head"] < 0.05
    assert max(whole) < 0.01


def test_nothing_stays_in_the_model(trained: tuple[object, object, list[Path]]) -> None:
    run, scorer, images = trained
    time_stages(scorer, run, images, 1)  # type: ignore[arg-type]
    backbone = scorer.runtime.model.backbone  # type: ignore[attr-defined]
    assert not backbone._forward_hooks
    assert not backbone._forward_pre_hooks
