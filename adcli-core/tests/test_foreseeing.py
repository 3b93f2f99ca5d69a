"""What cannot be computed for lack of memory is refused before; what can be is not."""

import tracemalloc
from pathlib import Path

import pytest
import torch
from torch import nn

from adcli._process import memory
from adcli.errors import LackOfMemoryError
from adcli.nn import foreseeing
from adcli.nn.backbones import Backbone, create_backbone
from adcli.nn.foreseeing import compare_sizes
from adcli.options import BackboneOptions


class Attention(nn.Module):
    """A layer whose weights of attention, N x N, are never all in memory."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        rows = images.flatten(2).transpose(1, 2)[:, None]
        found = nn.functional.scaled_dot_product_attention(rows, rows, rows)
        return [found.transpose(2, 3).reshape(images.shape)]


def made(features: nn.Module, channels: int) -> Backbone:
    """Return a frozen backbone with one layer."""
    return Backbone(features, channels=[channels], strides=[1]).eval()


class First(nn.Sequential):
    """A network whose maps are larger than its images."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [super().forward(images)]


def test_the_largest_step_is_the_one_with_most_input_and_output() -> None:
    network = First(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3, padding=1))
    images = torch.zeros(2, 3, 32, 32)
    pixels = 2 * 32 * 32
    weights = 4 * (8 * 4 * 9 + 4)
    assert foreseeing.least_bytes(made(network, 4), images) == 4 * pixels * (8 + 4) + weights


def test_nothing_is_computed_for_it() -> None:
    network = made(First(nn.Conv2d(3, 64, 3, padding=1)), 64)
    images = torch.zeros(1, 3, 1, 1).expand(64, 3, 4096, 4096)
    tracemalloc.start()
    assert foreseeing.least_bytes(network, images) > 200e9
    tracemalloc.stop()


def test_attention_is_not_taken_for_more_than_it_needs() -> None:
    """Of 16,384 positions, the weights would take a gigabyte."""
    images = torch.zeros(1, 8, 128, 128)
    backbone = made(Attention(), 8)
    backbone.mean, backbone.std = torch.zeros(1, 8, 1, 1), torch.ones(1, 8, 1, 1)
    needed = foreseeing.least_bytes(backbone, images)
    assert images.nbytes <= needed < 20 * images.nbytes


def test_a_network_that_cannot_be_followed_is_tried() -> None:
    class Depends(nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [images * float(images.max().item())]

    assert foreseeing.least_bytes(made(Depends(), 3), torch.ones(1, 3, 8, 8)) == 0


@pytest.mark.parametrize(("free", "fits"), [(10**6, False), (None, True), (10**12, True)])
def test_a_batch_is_computed_if_there_is_room(monkeypatch: pytest.MonkeyPatch, free: int | None, fits: bool) -> None:
    monkeypatch.setattr(foreseeing, "free_memory", lambda: free)
    monkeypatch.setattr(foreseeing, "SMALL", 0)
    network = made(First(nn.Conv2d(3, 64, 3, padding=1)), 64)
    with foreseeing.foreseeing(nn.Sequential(network)):
        if fits:
            network(torch.zeros(2, 3, 64, 64))
        else:
            with pytest.raises(LackOfMemoryError, match="batches of 2 images of 64x64 need at least"):
                network(torch.zeros(2, 3, 64, 64))
    monkeypatch.setattr(foreseeing, "free_memory", lambda: 0)
    network(torch.zeros(2, 3, 64, 64))


GROUP = {"memory.max": "1000000", "memory.current": "900000", "memory.stat": "anon 5\ninactive_file 300000\n"}
OLD_GROUP = {
    "memory.limit_in_bytes": "2000000",
    "memory.usage_in_bytes": "1500000",
    "memory.stat": "total_inactive_file 100000\n",
}


@pytest.mark.parametrize(
    ("groups", "own", "free"),
    [
        ({"a/b": GROUP, "a": {"memory.max": "max"}}, "0::/a/b\n", 400_000),
        ({"a/b": {"memory.max": "max"}, "a": GROUP}, "0::/a/b\n", 400_000),
        ({"memory/a": OLD_GROUP}, "4:cpu,memory:/a\n3:cpu:/b\n", 600_000),
        ({}, "0::/\n", 3 << 20),
        ({}, "", 3 << 20),
    ],
)
def test_the_memory_that_is_free_is_that_of_machine_and_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: dict[str, dict[str, str]], own: str, free: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 2048 kB\nSwapFree: 1024 kB\n")
    (tmp_path / "cgroup").write_text(own)
    for name, files in groups.items():
        (tmp_path / "groups" / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (tmp_path / "groups" / name / file).write_text(content)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    assert memory.free_memory() == free


def test_a_larger_size_takes_longer_and_one_that_no_backbone_takes_has_no_cost() -> None:
    options = BackboneOptions(backbone="random:resnet18", layers=(2,))
    network = nn.ModuleList([create_backbone(options, image_size=(64, 64), pretrained=False)])
    cost = compare_sizes(network, (64, 64), (256, 256))
    assert cost is not None
    assert cost > 1.5
    fixed = BackboneOptions(backbone="random:test_vit", layers=(2,))
    network = nn.ModuleList([create_backbone(fixed, image_size=(160, 160), pretrained=False)])
    assert compare_sizes(network, (160, 160), (192, 192)) is None
    assert compare_sizes(nn.Identity(), (64, 64), (256, 256)) is None
