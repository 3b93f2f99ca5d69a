"""``A+B``: one backbone with the maps of both."""

import itertools
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from adcli import BackboneOptions, BackboneSpec, Layers
from adcli.errors import AdcliError, BackboneError, OptionError
from adcli.nn.backbones import Backbone, create_backbone, find_backbone, sketch_backbone
from adcli.nn.weights import weights_unavailable
from adcli.pipeline._building import choose_options
from adcli.progress import Silent
from adcli.runs.settings import TrainSettings
from adcli.specs import find_problem

ONE, OTHER = "random:resnet18", "random:mobilenetv3_small_050"
SIZE = (70, 52)


def make(name: str, layers: Any, **keywords: Any) -> Backbone:
    """Make a backbone from the same random numbers each time."""
    torch.manual_seed(0)
    return create_backbone(BackboneOptions(backbone=name, layers=layers), image_size=SIZE, **keywords)


@pytest.fixture(scope="module")
def joined() -> Backbone:
    """Two backbones, whose coarsest maps have the same stride."""
    return make(f"{ONE}+{OTHER}", "2,3+1,3")


@pytest.fixture
def images() -> Tensor:
    """Four noisy images."""
    return torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_its_maps_are_those_of_both_the_finest_first(joined: Backbone, images: Tensor) -> None:
    torch.manual_seed(0)
    one, other = (
        create_backbone(BackboneOptions(backbone=name, layers=layers), image_size=SIZE)
        for name, layers in ((ONE, (2, 3)), (OTHER, (1, 3)))
    )
    (first, second), (finest, last) = one(images), other(images)
    for found, expected in zip(joined(images), (finest, first, second, last), strict=True):
        torch.testing.assert_close(found, expected)
    assert joined.members == (1, 0, 0, 1)
    assert joined.channels == (other.channels[0], *one.channels, other.channels[1])
    assert joined.strides == (4, 8, 16, 16)
    assert joined.covers == (other.covers[0], *one.covers, other.covers[1])


def test_of_a_single_backbone_all_maps_have_one_member() -> None:
    assert make(ONE, (1, 2, 3)).members == (0, 0, 0)


@torch.inference_mode()
def test_equalised_maps_deviate_alike_and_those_of_the_first_are_left_alone(images: Tensor) -> None:
    joined = make(f"{ONE}+{OTHER}", "2,3+1,3")
    before = joined(images)
    joined.equalise(images.split(3))
    after = joined(images)
    deviations: dict[int, list[float]] = {0: [], 1: []}
    for part, owner in zip(after, joined.members, strict=True):
        deviations[owner] += part.double().std(dim=(0, 2, 3), correction=0).tolist()
    assert fmean(deviations[1]) == pytest.approx(fmean(deviations[0]), rel=1e-5)
    assert all(torch.equal(after[i], before[i]) for i in (1, 2))


@torch.inference_mode()
def test_a_single_backbone_is_not_changed(images: Tensor) -> None:
    single = make(ONE, (2,))
    (before,) = single(images)
    single.equalise([images])
    assert torch.equal(single(images)[0], before)


@torch.inference_mode()
def test_its_state_holds_the_scale(joined: Backbone, images: Tensor) -> None:
    joined.equalise([images])
    restored = make(f"{ONE}+{OTHER}", "2,3+1,3", pretrained=False)
    restored.load_state_dict(joined.state_dict())
    for found, expected in zip(restored(images), joined(images), strict=True):
        torch.testing.assert_close(found, expected)


@torch.inference_mode()
def test_it_computes_in_the_precision_asked_for_and_returns_float32(joined: Backbone, images: Tensor) -> None:
    exact = joined(images)
    for backbone in joined.modules():
        if isinstance(backbone, Backbone):
            backbone.precision = torch.bfloat16
    rounded = joined(images)
    for backbone in joined.modules():
        if isinstance(backbone, Backbone):
            backbone.precision = torch.float32
    for found, expected in zip(rounded, exact, strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_it_is_frozen_unless_it_is_to_be_trained(joined: Backbone) -> None:
    joined.train()
    assert not any(module.training for module in joined.modules())
    assert not any(parameter.requires_grad for parameter in joined.parameters())
    trainable = make(f"{ONE}+{OTHER}", (2,), trainable=True).train()
    assert all(module.training for module in trainable.modules())
    assert all(parameter.requires_grad for parameter in trainable.parameters())


def test_it_is_exported_with_a_dynamic_batch(joined: Backbone, images: Tensor) -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    with torch.no_grad():
        exported = torch.export.export(joined, (images[:3],), dynamic_shapes=({0: batch},)).module()
        for found, expected in zip(exported(images[:2]), joined(images[:2]), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_three_are_joined_and_one_list_of_layers_holds_for_each() -> None:
    three = make(f"{ONE} + {OTHER}+random:resnet34", "2")
    assert three.members == (0, 1, 2)
    assert three.name == f"{ONE}+{OTHER}+random:resnet34"


def test_a_sketch_has_the_layers_of_both() -> None:
    sketch = sketch_backbone(f"{ONE}+{OTHER}", (64, 64))
    strides = [stride for name in (ONE, OTHER) for stride in sketch_backbone(name).strides]
    assert sketch.strides == tuple(sorted(strides))


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        (f"{ONE}+", "2", "a backbone is missing beside '+'"),
        (f"+{ONE}", "2", "a backbone is missing"),
        (f"{ONE}+absent", "2", "unknown backbone 'absent'"),
        (f"{ONE}+{OTHER}", "1+2+3", "has 3 lists, and there are 2 backbones"),
        (ONE, "1+2", "has 2 lists, and there is one backbone"),
        (f"{ONE}+{OTHER}", "1+", "must name at least one layer"),
        (f"{ONE}+{OTHER}", "1+9", f"{OTHER} has layers 1 to"),
    ],
)
def test_what_does_not_join_is_refused_by_name(name: str, layers: str, words: str) -> None:
    with pytest.raises(AdcliError) as caught:
        make(name, layers)
    assert words in caught.value.format_message()


def test_one_file_of_weights_is_not_for_several_backbones() -> None:
    with pytest.raises(OptionError, match="weights is a file for one backbone"):
        create_backbone(BackboneOptions(backbone=f"{ONE}+{OTHER}", weights=Path("weights.safetensors")))


def test_weights_of_both_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("random:resnet18+timm:resnet18.tv_in1k", "timm:resnet18.tv_in1k + random:resnet18"):
        assert "HF_HUB_OFFLINE" in str(weights_unavailable(name))
    assert weights_unavailable(f"{ONE}+{OTHER}") is None


def test_what_takes_one_backbone_says_so() -> None:
    with pytest.raises(BackboneError, match="is several backbones: name one of them"):
        find_backbone(f"{ONE}+{OTHER}")


def test_a_plugin_cannot_offer_a_name_that_joins() -> None:
    spec = BackboneSpec(name="a+b", target="module:make", summary="Two.")
    assert "'a+b'" in find_problem(spec)
    assert "'+'" in find_problem(spec)


@pytest.mark.parametrize(
    ("given", "expected", "plain"),
    [
        ("2,3+3,5", ((2, 3), (3, 5)), "2,3+3,5"),
        ("2 + 3,4", ((2,), (3, 4)), "2+3,4"),
        ([[2, 3], [4]], ((2, 3), (4,)), "2,3+4"),
        (((2, 3), (4,)), ((2, 3), (4,)), "2,3+4"),
        ("2,3", (2, 3), [2, 3]),
        ([2, 3], (2, 3), [2, 3]),
        (2, (2,), [2]),
    ],
)
def test_layers_are_one_list_or_one_for_each(given: Any, expected: Layers, plain: Any) -> None:
    options = BackboneOptions(layers=given)
    assert options.layers == expected
    assert options.to_dict()["layers"] == plain
    assert BackboneOptions.parse(options.to_dict()) == options


@pytest.mark.parametrize("given", ["1+x", "1,0+2", "1+0", [[1], [0]], [[[1]], [2]], "1.5", [[1], "x"], {"a": 1}])
def test_what_are_no_layers_is_refused(given: Any) -> None:
    with pytest.raises(OptionError) as caught:
        BackboneOptions(layers=given)
    assert caught.value.option == "layers"


def test_blocks_of_a_transformer_are_chosen_beside_the_layers_of_another_network() -> None:
    from adcli._plugins.registry import registry

    spec = registry().models["patchcore"].spec
    for first, second in itertools.permutations((ONE, "random:test_vit")):
        options = {"backbone": f"{first}+{second}"}
        progress = Silent()
        settings = TrainSettings(model="patchcore", data="x", options=options)
        chosen: Any = choose_options(spec, settings, progress).options
        depth = sketch_backbone("random:test_vit").layer_count
        assert depth is not None
        expected = {ONE: (2, 3), "random:test_vit": tuple(sorted({round(depth / 2), depth}))}
        assert chosen.layers == (expected[first], expected[second])
        assert chosen.norm
        assert "random:test_vit: blocks" in progress.notes[0]
        assert create_backbone(chosen, image_size=(64, 64)).layer_count is None
