"""The embedded backbone: learnt weights, from the package alone, that any tool can load."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from adcli import BackboneOptions
from adcli.nn import Backbone, create_backbone
from adcli_embedded.backbone import WEIGHTS
from adcli_embedded.resnet import ResNet18

TOOLS = Path(__file__).parents[1] / "tools"


def make(backbone: str = "embedded") -> Backbone:
    torch.manual_seed(0)
    return create_backbone(BackboneOptions(backbone=backbone, layers=(1, 2, 3, 4)))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_it_is_made_without_a_network() -> None:
    backbone = make()
    assert backbone.channels == (64, 128, 256, 512)
    assert backbone.strides == (4, 8, 16, 32)


def test_the_weights_are_half_precision_small_and_finite() -> None:
    assert WEIGHTS.stat().st_size <= 25 * 10**6
    with safe_open(WEIGHTS, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    floating = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert all(tensor.dtype == torch.float16 for tensor in floating)
    assert all(torch.isfinite(tensor).all() for tensor in floating)


@torch.inference_mode()
def test_timm_loads_the_file_as_its_own_resnet18() -> None:
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    network.load_state_dict(load_file(WEIGHTS))
    backbone, images = make(), torch.rand(2, 3, 96, 64)
    expected = network.forward_intermediates(
        (images - backbone.mean) / backbone.std, indices=[1, 2, 3, 4], intermediates_only=True
    )
    for found, wanted in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)


def test_drawn_weights_are_timms_of_the_same_seed() -> None:
    torch.manual_seed(5)
    expected = timm.create_model("resnet18", num_classes=0).state_dict()
    torch.manual_seed(5)
    found = ResNet18().state_dict()
    assert list(found) == list(expected)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)


@pytest.mark.thorough
def test_timm_is_not_imported() -> None:
    code = "import sys; import adcli_embedded.backbone; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@torch.inference_mode()
def test_no_channel_is_dead_or_beyond_all_bounds() -> None:
    """Random and natural-looking images alike must move most channels of every layer."""
    smooth = torch.nn.functional.interpolate(torch.rand(8, 3, 12, 12), size=128, mode="bicubic").clamp(0, 1)
    for maps in make()(torch.cat([smooth, torch.rand(4, 3, 128, 128)])):
        deviation = maps.std(dim=(0, 2, 3))
        assert (deviation > 1e-4).float().mean() > 0.7
        assert maps.abs().max() < 1e3


@torch.inference_mode()
def test_learnt_features_are_less_redundant_than_random_ones() -> None:
    """The participation ratio of the covariance's eigenvalues: how many directions the features really use."""

    def directions(backbone: Backbone) -> float:
        grain = torch.nn.functional.interpolate(torch.rand(16, 3, 24, 24), size=128, mode="bicubic").clamp(0, 1)
        rows = backbone(grain)[2].permute(0, 2, 3, 1).flatten(0, 2)
        eigenvalues = torch.linalg.eigvalsh(torch.cov(rows.T.double()))
        return float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())

    assert directions(make()) > 1.5 * directions(make("random:resnet18"))


TEACHER = """
import torch
from torch import nn
class Tiny(nn.Module):
    def load(self):
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        return self
    def forward(self, images):
        return [self.stem(images)]
"""


@pytest.mark.thorough
def test_the_training_script_goes_on_from_the_packaged_weights(tmp_path: Path) -> None:
    (tmp_path / "teacher.py").write_text(TEACHER)
    for i in range(20):
        Image.effect_noise((48, 48), 60).convert("RGB").save(tmp_path / f"{i:02}.png")
    command = [
        sys.executable,
        TOOLS / "train.py",
        "--photographs",
        tmp_path,
        "--start",
        WEIGHTS,
        "--out",
        tmp_path / "out",
    ]
    command += ["--teacher", f"{tmp_path / 'teacher.py'}:Tiny", "--device", "cpu", "--warm-up", "1", "--settle", "1"]
    command += ["--steps", "2", "--batch-size", "4", "--crop", "32", "--late-crop", "64"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    before, after = load_file(WEIGHTS), load_file(tmp_path / "out" / "resnet18.safetensors")
    assert {name: tensor.shape for name, tensor in after.items()} == {name: t.shape for name, t in before.items()}
    difference = (after["layer1.0.conv1.weight"].float() - before["layer1.0.conv1.weight"].float()).abs()
    assert 0 < difference.max() < 0.01
