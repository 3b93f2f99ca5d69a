"""Real parts, real ImageNet weights: accuracy and the promise of the threshold, where the images are at hand."""

import json
from pathlib import Path

import pytest
from support import Adcli

SHARED = Path(__file__).parents[2] / "shared"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs inspection images and weights in ../shared"),
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the hub cache with real weights."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(SHARED / "weights/hf/hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(SHARED / "weights/hf/hub"))


@pytest.mark.thorough
@pytest.mark.usefixtures("hub")
def test_patchcore_finds_and_locates_broken_bottles(adcli: Adcli) -> None:
    outcome = adcli(
        "train", "--model", "patchcore", "--data", SHARED / "data/bottle", "--backbone",
        "timm:mobilenetv2_100.ra_in1k", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    image, pixel = found["metrics"]["image"], found["metrics"]["pixel"]
    assert image["auroc"] >= 0.995
    assert pixel["auroc"] >= 0.97
    assert "1 in 43" in found["promise"]
    # 20 good images and a rate of at most 1 in 43: more than three alarms have a chance below one in a thousand.
    assert image["false_positives"] <= 3
