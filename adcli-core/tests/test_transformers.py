"""Vision transformers as backbones: their blocks as maps that are timm's own, and lie where they look."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adcli import BackboneOptions
from adcli.errors import BackboneError
from adcli.nn import Backbone, create_backbone, upsample

LARGE = [
    pytest.param(argument, size, marks=pytest.mark.thorough)
    for argument, size in {
        "vit_small_patch14_dinov2": (70, 98),
        "vit_small_patch14_reg4_dinov2": (70, 98),
        "vit_small_patch16_dinov3": (64, 96),
        "vit_small_patch16_224.dino": (64, 96),
    }.items()
]
"""Architectures, and a size of whole patches that is not their own."""


def save_network(argument: str, size: tuple[int, int], folder: Path) -> tuple[nn.Module, Path]:
    """Make timm's own network for a size, with values that make every part of it matter; and save its weights."""
    torch.manual_seed(0)
    network = timm.create_model(argument, num_classes=0, img_size=size).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_file(network.state_dict(), folder / "weights.safetensors")
    return network, folder / "weights.safetensors"


def open_backbone(argument: str, size: tuple[int, int], weights: Path, **options: object) -> Backbone:
    chosen = BackboneOptions.parse({"backbone": f"timm:{argument}", "weights": weights, **options})
    return create_backbone(chosen, image_size=size)


def normalise(network: nn.Module, images: Tensor) -> Tensor:
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (images - mean) / std


@torch.inference_mode()
@pytest.mark.parametrize(("argument", "size"), [("test_vit", (64, 96)), *LARGE])
def test_maps_are_the_patch_tokens_of_timms_own_forward(argument: str, size: tuple[int, int], tmp_path: Path) -> None:
    network, weights = save_network(argument, size, tmp_path)
    images = torch.rand(2, 3, *size)
    depth = len(network.blocks)
    backbone = open_backbone(argument, size, weights, layers=(2, depth), norm=True)
    second, last = backbone(images)
    tokens = network.forward_features(normalise(network, images))
    # The class token and the registers come first, and are no patches.
    patches = tokens[:, network.num_prefix_tokens :]
    grid = tuple(int(side / stride) for side, stride in zip(size, backbone.strides[:1] * 2, strict=True))
    expected = patches.transpose(1, 2).reshape(2, -1, *grid)
    torch.testing.assert_close(last, expected, atol=1e-4, rtol=1e-4)
    if hasattr(network, "get_intermediate_layers"):
        (inner,) = network.get_intermediate_layers(normalise(network, images), [1], reshape=True, norm=True)
        torch.testing.assert_close(second, inner, atol=1e-4, rtol=1e-4)


CONTINUED = [pytest.param(param.values[0], (75, 121), marks=param.marks) for param in LARGE[1:3]]


@torch.inference_mode()
@pytest.mark.parametrize(("argument", "size"), [("test_vit", (64, 96)), ("test_vit", (75, 121)), *LARGE, *CONTINUED])
def test_a_dot_lights_the_position_that_covers_it(argument: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(BackboneOptions(backbone=f"random:{argument}", layers=(1,)), image_size=size)
    grey = torch.full((1, 3, *size), 0.5)
    height, width = size
    for row, column in [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (height // 2, width // 3)]:
        dotted = grey.clone()
        dotted[:, :, row, column] = 1
        lit = (backbone(dotted)[0] - backbone(grey)[0]).square().sum(dim=1, keepdim=True)
        positions = lit.shape[3]
        found = divmod(int(lit.argmax()), positions)
        cover = backbone.covers[0]
        assert found == tuple(int((place - cover.offset) // cover.stride) for place in (row, column))
        # And so it is where the map is drawn over the image.
        brightest = divmod(int(upsample(lit, size, cover).argmax()), width)
        assert max(abs(brightest[0] - row), abs(brightest[1] - column)) < cover.stride


@torch.inference_mode()
def test_blocks_are_averaged_in_groups(tmp_path: Path) -> None:
    network, weights = save_network("test_vit", (64, 96), tmp_path)
    images = torch.rand(2, 3, 64, 96)
    blocks = network.get_intermediate_layers(normalise(network, images), [1, 2, 3, 4], reshape=True)
    backbone = open_backbone("test_vit", (64, 96), weights, layers=(2, 3, 4, 5), average=2)
    assert (backbone.channels, backbone.strides, backbone.offsets) == ((64, 64), (16, 16), (0, 0))
    first, second = backbone(images)
    torch.testing.assert_close(first, (blocks[0] + blocks[1]) / 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second, (blocks[2] + blocks[3]) / 2, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("random:test_vit", (2, 3, 4), "3 layers cannot be averaged 2 at a time"),
        ("random:resnet18", (2, 3), "its layers differ in channels or strides"),
    ],
)
def test_layers_that_cannot_be_averaged_are_refused(name: str, layers: tuple[int, ...], words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        create_backbone(BackboneOptions(backbone=name, layers=layers, average=2), image_size=(64, 64))


def test_a_name_without_its_prefix_is_explained() -> None:
    with pytest.raises(BackboneError, match=r"--backbone timm:vit_small_patch14_dinov2\.lvd142m"):
        create_backbone(BackboneOptions(backbone="vit_small_patch14_dinov2.lvd142m"))
