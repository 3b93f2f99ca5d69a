"""Vision transformers through the commands: from a hub's cache without a network, and out as a graph."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from support import Adcli

from adcli import pipeline


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub's cache with the weights of one transformer, which no network can be asked for."""
    from huggingface_hub import constants

    torch.manual_seed(0)
    network = timm.create_model("test_vit")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path / "hub/models--timm--test_vit.r160_in1k"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return "timm:test_vit.r160_in1k"


def test_a_transformer_in_the_cache_trains_without_a_network(
    cached: str, parts: Path, tmp_path: Path, adcli: Adcli
) -> None:
    outcome = adcli(
        "train", "--model", "patchcore", "--data", parts, "--backbone", cached, "--image-size", "75x64",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "blocks 3,6 of 6, with its final norm" in outcome.err
    assert adcli("predict", tmp_path / "run", parts / "test").code in (0, 3)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("backbone", "layers", "average"),
    [
        ("random:test_vit", "3,4,5,6", 2),
        ("random:vit_small_patch14_reg4_dinov2", "7,8,9", 3),
        ("random:vit_small_patch16_dinov3", "6,12", 1),
    ],
)
def test_a_transformer_is_exported(backbone: str, layers: str, average: int, parts: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    options = {"backbone": backbone, "layers": layers, "average": average}
    settings = pipeline.TrainSettings(model="patchcore", data=str(parts), image_size="75x64", options=options)
    run = pipeline.train(settings, out=tmp_path / "run").run
    agreement = pipeline.export(run, "openvino", {}).manifest["measured"]
    assert max(agreement["score_difference"], agreement["map_difference"]) < 1e-3
