"""Backbones: the maps are the network's own, folded or not, and what cannot be had is said at once."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from adcli import BackboneOptions
from adcli.errors import BackboneError
from adcli.nn._folding import fold_batch_norms
from adcli.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, create_backbone, sketch_backbone, spread_layers
from adcli.nn.weights import first_torchvision_weights, weights_unavailable


def make(backbone: str, *layers: int, **options: object) -> Backbone:
    """Make a backbone from the same random numbers each time."""
    torch.manual_seed(0)
    return create_backbone(BackboneOptions(backbone=backbone, layers=layers, **options))  # type: ignore[arg-type]


def unsettled(network: nn.Module) -> nn.Module:
    """Give batch norms statistics and factors that folding cannot get right by accident."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                tensor.data.normal_(0, 0.2, generator=generator)
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "wide_resnet50_2", "convnext_atto", "efficientnet_b0"])
@torch.inference_mode()
def test_folding_changes_no_output(name: str) -> None:
    torch.manual_seed(0)
    network = unsettled(timm.create_model(name, pretrained=False, num_classes=0))
    images = torch.rand(2, 3, 96, 96)
    expected = network(images)
    fold_batch_norms(network)
    scale = float(expected.abs().max())
    torch.testing.assert_close(network(images) / scale, expected / scale, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "efficientnet_b0"])
def test_folding_leaves_no_batch_norm(name: str) -> None:
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    fold_batch_norms(network)
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_convolution_that_is_used_twice_keeps_its_batch_norm() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features = self.conv(images)
            return self.norm(features) + self.other(features)

    network = unsettled(Shared())
    images = torch.rand(1, 3, 8, 8)
    expected = network(images)
    fold_batch_norms(network)
    torch.testing.assert_close(network(images), expected)
    assert isinstance(network.norm, nn.BatchNorm2d)


@torch.inference_mode()
def test_layers_are_those_of_the_papers() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    backbone = make("random:resnet18", 1, 2, 3)
    images = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    features = network.maxpool(network.act1(network.bn1(network.conv1((images - mean) / std))))
    for layer, found in zip((network.layer1, network.layer2, network.layer3), backbone(images), strict=True):
        features = layer(features)
        torch.testing.assert_close(found, features, atol=1e-4, rtol=1e-4)
    assert backbone.channels == (64, 128, 256)
    assert backbone.strides == (4, 8, 16)


@pytest.mark.parametrize("name", ["random:resnet18", "random:mobilenetv2_100", "random:convnext_atto"])
def test_channels_and_strides_are_those_of_the_maps(name: str) -> None:
    backbone = make(name, 2, 3)
    maps = backbone(torch.rand(1, 3, 128, 64))
    assert [part.shape[1] for part in maps] == list(backbone.channels)
    assert [128 // part.shape[2] for part in maps] == list(backbone.strides) == [8, 16]


def test_nothing_is_computed_beyond_the_last_layer_asked_for() -> None:
    few, many = (sum(p.numel() for p in make("random:resnet18", *layers).parameters()) for layers in ((1,), (1, 4)))
    assert few < 0.03 * many


def test_a_transformer_gives_maps() -> None:
    backbone = make("random:vit_tiny_patch16_224", 3, 6)
    maps = backbone(torch.rand(1, 3, 96, 64))
    assert [tuple(part.shape) for part in maps] == [(1, 192, 6, 4)] * 2
    assert backbone.strides == (16, 16)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "convnext_tiny"])
def test_torchvision_networks_give_the_same_kind_of_maps(name: str) -> None:
    options = BackboneOptions(backbone=f"torchvision:{name}", layers=(1, 2, 3))
    backbone = create_backbone(options, pretrained=False)
    maps = backbone(torch.rand(1, 3, 96, 96))
    assert backbone.strides == (4, 8, 16)
    assert [part.shape[1] for part in maps] == list(backbone.channels)


def test_a_frozen_backbone_has_no_gradients_and_stays_in_evaluation_mode() -> None:
    backbone = make("random:resnet18", 1)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.train().training
    trainable = create_backbone(BackboneOptions(backbone="random:resnet18"), trainable=True)
    assert trainable.train().training
    assert all(parameter.requires_grad for parameter in trainable.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_local_weights_are_loaded_without_their_classifier(tmp_path: Path, suffix: str) -> None:
    network = unsettled(timm.create_model("resnet18", pretrained=False))
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": network.state_dict()}, path)
    else:
        save_file(network.state_dict(), path)
    found, images = make("timm:resnet18", 2, weights=path), torch.rand(1, 3, 64, 64)
    normalised = (images - found.mean) / found.std
    expected = network.forward_intermediates(normalised, indices=[2], intermediates_only=True)
    torch.testing.assert_close(found(images), expected, atol=1e-4, rtol=1e-4)


def test_weights_that_do_not_fit_or_are_no_weights_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet34", pretrained=False).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(Path("pickled"), tmp_path / "pickled.pth")
    for name in ("other.safetensors", "text.safetensors", "text.pth", "pickled.pth", "missing.pth"):
        with pytest.raises(BackboneError, match=name) as refused:
            make("timm:resnet18", 2, weights=tmp_path / name)
        assert "\n" not in refused.value.format_message()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet81", "resnet18"),
        ("random:nothing", "nothing"),
        ("tim:resnet18", "Did you mean 'timm:'?"),
        ("torchvision:resnet81", "resnet18"),
        ("torchvision:vit_b_16", "timm:"),
        ("timm:resnet18.", "timm has no weights '' of model 'resnet18'. Known: a1_in1k"),
        ("random:resnet18.", "timm has no weights ''"),
        ("timm:resnet18.a1_in2k", "Did you mean 'a1_in1k'?"),
        ("random:resnet18.a1_in1k.more", "Did you mean 'a1_in1k'?"),
        ("random:RESNET18", "Did you mean 'resnet18'?"),
        ("torchvision:ResNet18", "Did you mean 'resnet18'?"),
        ("TIMM:resnet18", "Did you mean 'timm:'?"),
        ("timm:../../etc/passwd", "timm has no model '../../etc/passwd'."),
        ("random:", "random: needs the name of a network, such as random:resnet18"),
        ("timm:.a1_in1k", "timm: needs the name of a network, such as timm:resnet18"),
        ("torchvision:", "torchvision: needs the name of a network, such as torchvision:resnet18"),
    ],
)
def test_what_there_is_not_is_named(name: str, words: str) -> None:
    for attempt in (
        lambda: create_backbone(BackboneOptions(backbone=name), pretrained=False),
        lambda: create_backbone(BackboneOptions(backbone=name), image_size=(64, 64), pretrained=False),
        lambda: sketch_backbone(name),
    ):
        with pytest.raises(BackboneError) as refused:
            attempt()
        assert words in refused.value.format_message()


def test_a_layer_that_there_is_not_is_named() -> None:
    with pytest.raises(BackboneError, match="layers 1 to 4; layer 7"):
        make("random:resnet18", 7)


@pytest.mark.thorough
def test_an_unreachable_hub_is_noticed_within_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address of a network that no router knows: packets vanish, as behind a firewall that drops them."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://192.0.2.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    reason = weights_unavailable("timm:resnet18.tv_in1k")
    assert time.perf_counter() - start < 4
    assert reason is not None
    assert "192.0.2.1" in reason


class RunsCode:
    """What a hostile file of weights holds."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


@pytest.mark.parametrize(
    "content", [b"", b"text", {"conv1.weight": torch.ones(2)}, {}, 3], ids=["empty", "text", "other", "none", "number"]
)
def test_a_wrong_file_in_the_cache_of_torchvision_is_named(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    file = tmp_path / "checkpoints" / first_torchvision_weights("resnet18").url.rpartition("/")[2]
    file.parent.mkdir()
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(BackboneError, match=f"torchvision:resnet18: .*; remove its file from {file.parent}"):
        create_backbone(BackboneOptions(backbone="torchvision:resnet18"))


def test_code_in_the_cache_of_torchvision_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = first_torchvision_weights("resnet18").url.rpartition("/")[2]
    torch.save({"conv1.weight": RunsCode()}, tmp_path / "checkpoints" / file)
    with pytest.raises(BackboneError, match="refused as weights; remove its file from"):
        create_backbone(BackboneOptions(backbone="torchvision:resnet18"))
    assert not (tmp_path / "ran").exists()


SIZES = {
    "random:test_vit": (64, 96),
    "random:vit_small_patch14_dinov2": (70, 64),
    "random:test_convnext": (75, 61),
    "random:resnet18": (75, 61),
}


@torch.inference_mode()
@pytest.mark.parametrize("name", SIZES)
def test_a_backbone_is_made_for_the_image_size_and_says_what_its_maps_cover(name: str) -> None:
    size = SIZES[name]
    torch.manual_seed(0)
    backbone = create_backbone(BackboneOptions(backbone=name, layers=(1, 2)), image_size=size)
    maps = backbone(torch.rand(1, 3, *size))
    for part, cover in zip(maps, backbone.covers, strict=True):
        for positions, side in zip(part.shape[2:], size, strict=True):
            assert abs(cover.offset + positions * cover.stride - side) < cover.stride


@torch.inference_mode()
def test_a_transformer_resamples_its_positions_once_as_timm_does_for_each_image() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 75, 64)
    flexible = make("random:vit_tiny_patch16_224", 2, 4)
    fixed = create_backbone(BackboneOptions(backbone="random:vit_tiny_patch16_224", layers=(2, 4)), image_size=(75, 64))
    # As the runs of earlier versions are opened: their position embeddings have the network's own size.
    fixed.load_state_dict(flexible.state_dict())
    for found, expected in zip(fixed(images), flexible(images), strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert not any("upsample" in str(node.target) for node in torch.export.export(fixed, (images,)).graph.nodes)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("hrnet_w18_small", (250, 199), "it takes multiples of 32, such as --image-size 256x192"),
        ("efficientformer_l1", (256, 256), "it takes --image-size 224"),
        ("nest_tiny", (64, 96), "it takes square images: --image-size 96"),
        ("inception_v3", (32, 32), "it takes larger images, such as --image-size 96"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_one_that_it_takes(
    name: str, size: tuple[int, int], words: str
) -> None:
    with pytest.raises(BackboneError, match=f"'random:{name}' cannot take images of {size[0]} x {size[1]}") as refused:
        create_backbone(BackboneOptions(backbone=f"random:{name}", layers=(1,)), image_size=size)
    assert words in refused.value.format_message()


def test_what_fails_inside_a_backbone_is_its_own_failure() -> None:
    broken = Backbone(nn.Conv2d(4, 4, 1), channels=[4], strides=[1])
    with pytest.raises(BackboneError, match="cannot take images of 8 x 8"):
        broken(torch.rand(1, 3, 8, 8))
    few = Backbone(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(0, 0)), channels=[4], strides=[1])
    with pytest.raises(BackboneError, match="its maps have shapes"):
        few(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("depth", "count", "layers"), [(12, 1, (12,)), (12, 2, (6, 12)), (12, 3, (6, 9, 12)), (2, 3, (1, 2))]
)
def test_blocks_are_spread_over_the_second_half(depth: int, count: int, layers: tuple[int, ...]) -> None:
    assert spread_layers(depth, count) == layers


@torch.inference_mode()
def test_the_final_norm_is_applied_on_demand() -> None:
    torch.manual_seed(0)
    options = BackboneOptions(backbone="random:test_vit", layers=(6,), norm=True)
    backbone = create_backbone(options, image_size=(64, 64))
    tokens = backbone(torch.rand(1, 3, 64, 64))[0].flatten(2)
    torch.testing.assert_close(tokens.mean(dim=1), torch.zeros(1, 16), atol=1e-4, rtol=0)
    with pytest.raises(BackboneError, match="no norm is common"):
        make("random:resnet18", 1, norm=True)


Wrapping = Callable[[dict[str, torch.Tensor]], object]
WRAPPINGS: dict[str, Wrapping] = {
    "bare": dict,
    "model": lambda state: {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "state_dict": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "teacher": lambda state: {
        "student": {f"backbone.{key}": value + 1 for key, value in state.items()},
        "teacher": {f"backbone.{key}": value for key, value in state.items()} | {"dino_head.0.bias": torch.ones(2)},
        "optimizer": {"state": {}},
    },
    "encoder": lambda state: {f"module.encoder.{key}": value for key, value in state.items()},
    "mask token": lambda state: state | {"mask_token": torch.zeros(1, 1), "head.weight": torch.zeros(3, 4)},
}


@torch.inference_mode()
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_are_found_in_other_wrappings(wrapping: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(WRAPPINGS[wrapping](dict(network.state_dict())), tmp_path / "weights.pth")
    options = BackboneOptions(backbone="timm:test_vit", layers=(3,), weights=tmp_path / "weights.pth")
    backbone = create_backbone(options, image_size=(160, 160))
    images = torch.rand(1, 3, 160, 160)
    normalised = (images - backbone.mean) / backbone.std
    expected = network.forward_intermediates(normalised, indices=[2], intermediates_only=True)
    torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("blocks.3.attn.qkv.weight"), "'blocks.3.attn.qkv.weight' is missing"),
        (lambda state: state.update({"blocks.9.norm1.bias": torch.ones(64)}), "it has no 'blocks.9.norm1.bias'"),
        (lambda state: state.update({"norm.bias": torch.ones(3)}), "'norm.bias' has shape"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[dict[str, torch.Tensor]], object], words: str, tmp_path: Path
) -> None:
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    change(state)
    torch.save({"model": state}, tmp_path / "weights.pth")
    with pytest.raises(BackboneError) as refused:
        create_backbone(
            BackboneOptions(backbone="timm:test_vit", layers=(3,), weights=tmp_path / "weights.pth"),
            image_size=(64, 64),
        )
    assert words in refused.value.format_message()


BAD_VALUES = {
    "meta": (lambda tensor: tensor.to("meta"), "has no values"),
    "nan": (lambda tensor: tensor.index_fill(0, torch.tensor(0), torch.nan), "not finite"),
    "infinite": (lambda tensor: tensor.index_fill(0, torch.tensor(0), -torch.inf), "not finite"),
    "too large": (lambda tensor: tensor.double() + 1e300, "not finite"),
    "integer": (lambda tensor: (100 * tensor).long(), "has values of type int64, not float"),
    "boolean": (lambda tensor: tensor > 0, "has values of type bool, not float"),
    "complex": (lambda tensor: tensor + 1j, "has values of type complex64, not float"),
    "sparse": (lambda tensor: tensor.to_sparse(), "sparse or quantised"),
    "quantised": (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "sparse or quantised"),
}


@pytest.mark.parametrize("fault", BAD_VALUES)
@pytest.mark.parametrize(
    ("backbone", "key"),
    [("timm:resnet18", "layer1.0.conv1.weight"), ("timm:test_vit", "pos_embed"), ("torchvision:resnet18", "bn1.bias")],
)
def test_weights_without_usable_values_are_named(backbone: str, key: str, fault: str, tmp_path: Path) -> None:
    change, words = BAD_VALUES[fault]
    state = timm.create_model(backbone.partition(":")[2], num_classes=0).state_dict()
    torch.save({"teacher": state | {key: change(state[key])}, "student": state}, tmp_path / "weights.pth")
    options = BackboneOptions(backbone=backbone, layers=(1,), weights=tmp_path / "weights.pth")
    with pytest.raises(BackboneError) as refused:
        create_backbone(options, image_size=(160, 160))
    assert refused.value.format_message().startswith(f"{tmp_path}/weights.pth: '{key}' ")
    assert words in refused.value.format_message()
    assert "; give a file of this network's weights (-o weights=)" in refused.value.format_message()


def test_a_variance_below_zero_is_named(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    state["bn1.running_var"][3] = -1
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match=r"weights\.pth: 'bn1\.running_var' has variances below 0"):
        make("timm:resnet18", 1, weights=tmp_path / "weights.pth")


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    state = {key: value.to(dtype) for key, value in state.items() if "num_batches" not in key}
    torch.save(state, tmp_path / "weights.pth")
    backbone = create_backbone(
        BackboneOptions(backbone="timm:resnet18", layers=(1,), weights=tmp_path / "weights.pth"), trainable=True
    )
    found = backbone.state_dict()["features.network.conv1.weight"]
    torch.testing.assert_close(found, state["conv1.weight"].float(), rtol=0, atol=0)


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


UNCLEAR: dict[str, tuple[Wrapping, str]] = {
    "entries": (lambda state: {"a": state, "b": state}, "'a' and 'b'"),
    "deep": (lambda state: {"a": {"model": state}, "b": {"model": state}}, "'a.model' and 'b.model'"),
    "prefixes": (lambda state: under("query.", state) | under("key.", state), "'query' and 'key'"),
    "both": (
        lambda state: {"model": under("query.", state) | under("key.", state)},
        "'model.query' and 'model.key'",
    ),
}


@pytest.mark.parametrize("wrapping", UNCLEAR)
def test_weights_that_fit_equally_are_named(wrapping: str, tmp_path: Path) -> None:
    wrap, names = UNCLEAR[wrapping]
    torch.save(wrap(dict(timm.create_model("resnet18", num_classes=0).state_dict())), tmp_path / "weights.pth")
    with pytest.raises(BackboneError) as refused:
        make("timm:resnet18", 1, weights=tmp_path / "weights.pth")
    for name in names.split(" and "):
        assert name in refused.value.format_message()
    assert "fit this backbone equally; save the one that is meant" in refused.value.format_message()


CLEAR: dict[str, Wrapping] = {
    "prefixes": lambda state: under("student.", {k: v + 1 for k, v in state.items()}) | under("teacher.", state),
    "entries": lambda state: {"mine": {k: v + 1 for k, v in state.items()}, "model": state},
    "another beside it": lambda state: {"a": {"x.weight": torch.ones(2), "x.bias": torch.ones(2)}, "b": state},
}


@pytest.mark.parametrize("wrapping", CLEAR)
def test_the_weights_that_are_meant_are_found(wrapping: str, tmp_path: Path) -> None:
    state = dict(timm.create_model("resnet18", num_classes=0).state_dict())
    torch.save(CLEAR[wrapping](state), tmp_path / "weights.pth")
    backbone = create_backbone(
        BackboneOptions(backbone="timm:resnet18", layers=(1,), weights=tmp_path / "weights.pth"), trainable=True
    )
    found = backbone.state_dict()["features.network.conv1.weight"]
    torch.testing.assert_close(found, state["conv1.weight"], rtol=0, atol=0)


def save_itself(path: Path) -> None:
    checkpoint: dict[str, object] = {}
    checkpoint["itself"] = checkpoint
    torch.save(checkpoint, path)


NO_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.touch(), "is empty; give"),
    "folder": (lambda path: path.mkdir(), "is a folder; name the file"),
    "missing": (lambda path: None, "no such file; name a file"),
    "text": (lambda path: path.write_text("no weights"), "give a file|state_dict"),
    "whole model": (lambda path: torch.save(nn.Linear(2, 2), path), "more than tensors.* save the state_dict.. alone"),
    "cut": (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "cannot be read as weights .*; give"),
    "number": (lambda path: torch.save(3, path), "no tensors with names in it.; give"),
    "list": (lambda path: torch.save([torch.ones(2)], path), "no tensors with names in it.; give"),
    "itself": (save_itself, "no tensors with names in it.; give"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_file_of_weights_is_said_with_what_to_do(kind: str, suffix: str, tmp_path: Path) -> None:
    write, words = NO_WEIGHTS[kind]
    path = tmp_path / f"weights.{suffix}"
    write(path)
    with pytest.raises(BackboneError, match=f"{path}: .*{words}") as refused:
        make("timm:resnet18", 1, weights=path)
    assert refused.value.format_message().count(str(path)) == 1
    assert "()" not in refused.value.format_message().replace("state_dict()", "")


@pytest.mark.parametrize("safe", [True, False])
def test_a_file_is_read_by_its_content_whatever_its_name(safe: bool, tmp_path: Path) -> None:
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    path = tmp_path / ("weights.pth" if safe else "weights.safetensors")
    (save_file if safe else torch.save)(state, path)
    assert make("timm:resnet18", 1, weights=path).channels == (64,)


def test_weights_that_cannot_be_resampled_name_their_size(tmp_path: Path) -> None:
    torch.save(timm.create_model("levit_128s", num_classes=0).state_dict(), tmp_path / "weights.pth")
    options = BackboneOptions(backbone="timm:levit_128s", layers=(1,), weights=tmp_path / "weights.pth")
    with pytest.raises(BackboneError, match=r"for images of 224 x 224, .*: use --image-size 224"):
        create_backbone(options, image_size=(64, 64))
