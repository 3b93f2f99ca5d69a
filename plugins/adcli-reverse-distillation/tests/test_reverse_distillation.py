"""Reverse Distillation's mathematics, against plain transcriptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from adcli import BackboneError, BackboneOptions
from adcli.data import ImageSource, items_of
from adcli.nn import Backbone, Batches, create_backbone
from adcli_reverse_distillation import ReverseDistillationOptions
from adcli_reverse_distillation.model import ReverseDistillation
from adcli_reverse_distillation.networks import Architecture, Bottleneck, Decoder, Student, architecture_of
from adcli_reverse_distillation.tracing import trace_maps


def model(size: tuple[int, int] = (64, 64), **options: object) -> ReverseDistillation:
    """Make a model with random weights."""
    torch.manual_seed(0)
    parsed = ReverseDistillationOptions.parse({"backbone": "random:resnet18", **options})
    return ReverseDistillation(parsed, image_size=size).eval()


def cosine_distance(first: np.ndarray, second: np.ndarray) -> float:
    return 1 - float(first @ second / np.sqrt((first @ first) * (second @ second)))


def maps_of(detector: ReverseDistillation, images: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    taught = detector.teacher(images)
    restored = detector.student(taught)
    return [(t.double().numpy(), r.detach().double().numpy()) for t, r in zip(taught, restored, strict=True)]


def test_the_official_loss_compares_whole_maps() -> None:
    detector, images = model(), torch.rand(3, 3, 64, 64)
    expected = sum(
        np.mean([cosine_distance(t[i].ravel(), r[i].ravel()) for i in range(3)]) for t, r in maps_of(detector, images)
    )
    assert detector.loss(detector.teacher(images)).item() == pytest.approx(expected, rel=1e-4)


def test_the_papers_loss_compares_position_by_position() -> None:
    detector, images = model(loss="local"), torch.rand(2, 3, 64, 64)
    expected = 0.0
    for taught, restored in maps_of(detector, images):
        _, _, height, width = taught.shape
        expected += np.mean(
            [
                cosine_distance(taught[i, :, y, x], restored[i, :, y, x])
                for i in range(2)
                for y in range(height)
                for x in range(width)
            ]
        )
    assert detector.loss(detector.teacher(images)).item() == pytest.approx(expected, rel=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("combine", ["add", "multiply"])
def test_the_map_is_the_blurred_sum_or_product_of_distances(combine: str) -> None:
    detector, images = model(combine=combine, sigma=2.0), torch.rand(1, 3, 64, 64)
    layers = []
    for taught, restored in maps_of(detector, images):
        distance = np.array(
            [
                [cosine_distance(taught[0, :, y, x], restored[0, :, y, x]) for x in range(taught.shape[3])]
                for y in range(taught.shape[2])
            ]
        )
        grid = torch.from_numpy(distance)[None, None]
        layers.append(nn.functional.interpolate(grid, size=64, mode="bilinear", align_corners=True)[0, 0].numpy())
    combined = np.sum(layers, axis=0) if combine == "add" else np.prod(layers, axis=0)
    scores = detector(images)
    np.testing.assert_allclose(scores.map[0, 0].numpy(), gaussian_filter(combined, 2.0), rtol=1e-3, atol=1e-5)
    assert scores.image[0] == scores.map.max()


def test_sizes_and_widths_are_those_of_the_official_code() -> None:
    """The architecture as published: parameters counted by hand from its layers."""
    like = architecture_of("timm:wide_resnet50_2.tv_in1k", (256, 512, 1024))
    assert like == Architecture((256, 512, 1024), (3, 4, 6), 3, bottleneck=True, widening=2)
    maps = [torch.rand(1, 256, 64, 64), torch.rand(1, 512, 32, 32), torch.rand(1, 1024, 16, 16)]
    bottleneck, decoder = Bottleneck(like).eval(), Decoder(like).eval()
    with torch.inference_mode():
        embedding = bottleneck(maps)
        restored = decoder(embedding)
    assert embedding.shape == (1, 2048, 8, 8)
    assert [part.shape for part in restored] == [part.shape for part in maps]

    def block(before: int, width: int, after: int, kernel: int, shortcut: int) -> int:
        """Weights and batch norms of one bottleneck block."""
        norms = 2 * (2 * width + after)
        return before * width + kernel**2 * width * width + width * after + norms + shortcut

    fuse = 9 * (256 * 512 + 512 * 1024 + 512 * 1024) + 2 * (512 + 1024 + 1024)
    embed = block(3072, 1024, 2048, 3, 3072 * 2048 + 2 * 2048) + 2 * block(2048, 1024, 2048, 3, 0)
    assert sum(p.numel() for p in bottleneck.parameters()) == fuse + embed
    stages = 0
    for before, after, count in ((2048, 1024, 3), (1024, 512, 4), (512, 256, 6)):
        width = after // 4 * 2
        stages += block(before, width, after, 2, 4 * before * after + 2 * after)
        stages += (count - 1) * block(after, width, after, 3, 0)
    assert sum(p.numel() for p in decoder.parameters()) == stages


@pytest.mark.parametrize("backbone", ["random:resnet18", "random:mobilenetv2_100", "random:resnet34"])
@pytest.mark.parametrize("size", [(64, 64), (75, 61)])
@torch.inference_mode()
def test_any_backbone_whose_strides_double_and_any_size_work(backbone: str, size: tuple[int, int]) -> None:
    scores = model(size, backbone=backbone)(torch.rand(2, 3, *size))
    assert scores.map.shape == (2, 1, *size)
    assert torch.isfinite(scores.map).all()


@pytest.mark.parametrize("layers", ["1,2,4", "1,3,4"])
@torch.inference_mode()
def test_layers_may_be_left_out_between(layers: str) -> None:
    detector = model((64, 128), layers=layers)
    taught = detector.teacher(torch.rand(2, 3, 64, 128))
    assert [part.shape for part in detector.student(taught)] == [part.shape for part in taught]


class Maps(nn.Module):
    """Three maps whose strides are 4, 4 and 8; of the last, some values are below 0."""

    def forward(self, images: Tensor) -> list[Tensor]:
        small = nn.functional.avg_pool2d(images, 4)
        return [torch.relu(small), nn.functional.hardtanh(small, 0, 6), nn.functional.avg_pool2d(small - 0.5, 2)]


@torch.inference_mode()
def test_a_decoder_mirrors_strides_that_are_equal_and_maps_with_values_below_zero() -> None:
    teacher = Backbone(Maps(), channels=[3, 3, 3], strides=[4, 4, 8])
    sizes, signed = trace_maps(teacher, (64, 32))
    assert sizes == [(16, 8), (16, 8), (8, 4)]
    assert signed == (False, False, True)
    student = Student(architecture_of("maps", (3, 3, 3), (0, 1), (False, False, True)))
    restored = student(teacher(torch.rand(8, 3, 64, 32)))
    assert [tuple(part.shape[2:]) for part in restored] == sizes
    assert [bool((part < 0).any()) for part in restored] == list(signed)


@pytest.mark.parametrize(
    ("backbone", "signed"),
    [
        ("random:resnet18", False),
        ("random:wide_resnet50_2", False),
        ("random:seresnet18", False),
        ("random:vgg11_bn", False),
        ("random:mobilenetv2_100", True),
        ("random:tf_efficientnet_lite0", True),
        ("random:convnext_atto", True),
    ],
)
@torch.inference_mode()
def test_whether_maps_have_values_below_zero_is_read_from_the_networks_operations(backbone: str, signed: bool) -> None:
    torch.manual_seed(0)
    teacher = create_backbone(BackboneOptions(backbone=backbone, layers=(1, 2, 3)), image_size=(64, 64))
    images = torch.rand(4, 3, 64, 64)
    assert [bool((part < 0).any()) for part in teacher(images)] == [signed] * 3
    # Its weights say nothing while those of a run are not loaded.
    for parameter in teacher.parameters():
        parameter.zero_()
    assert trace_maps(teacher, (64, 64))[1] == (signed,) * 3


def test_a_resnets_student_has_the_parameters_of_the_official_code_alone() -> None:
    assert not any("outputs" in name for name in model().state_dict())
    assert sum("outputs" in name for name in model(backbone="random:mobilenetv2_100").state_dict()) == 6


@pytest.mark.thorough
def test_maps_that_do_not_cover_the_image_are_refused_with_the_way_out() -> None:
    with pytest.raises(BackboneError, match=r"maps of 28 x 28 and 13 x 13 and 6 x 6 .* -o layers= or --backbone"):
        model((96, 96), backbone="random:inception_v3")


@pytest.mark.parametrize(("backbone", "layers"), [("random:vit_tiny_patch16_224", "1,2,3"), ("random:resnet18", "1,3")])
def test_a_backbone_without_a_decoder_is_refused_with_the_way_out(backbone: str, layers: str) -> None:
    with pytest.raises(BackboneError, match=r"strides .* -o layers= or --backbone"):
        model(backbone=backbone, layers=layers)


def noise(folder: Path, count: int, batch_size: int | None = None) -> Batches:
    """Write images of noise; return them, as one batch unless told otherwise."""
    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return Batches(items_of(sorted(folder.glob("*.png"))), ImageSource((64, 64)), batch_size=batch_size or count)


def test_training_lowers_the_loss_and_leaves_the_teacher_alone(tmp_path: Path) -> None:
    batches = noise(tmp_path, 4)
    detector = model(epochs=4)
    images = next(iter(batches))
    taught = [part.clone() for part in detector.teacher(images)]
    before = detector.loss(detector.teacher(images)).item()
    detector.fit(batches)
    assert detector.loss(detector.teacher(images)).item() < before
    for now, then in zip(detector.teacher(images), taught, strict=True):
        torch.testing.assert_close(now, then)
    assert not any(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.thorough
def test_the_teacher_sees_each_image_once_and_the_student_learns_the_same(tmp_path: Path) -> None:
    """Of twelve images a megabyte holds the maps of nine; rounding depends on how many are computed together."""
    batches = noise(tmp_path, 12, batch_size=6)
    found: dict[int, tuple[int, ReverseDistillation]] = {}
    for memory in (0, 1, 2):
        detector = model(epochs=3, memory=memory)
        seen: list[int] = []
        detector.teacher.register_forward_hook(lambda _, given, maps, seen=seen: seen.append(len(given[0])))
        detector.fit(batches)
        # A blank image gives the maps' shapes; batch statistics are taken in another pass.
        found[memory] = sum(seen) - 1, detector
    assert [count for count, _ in found.values()] == [4 * 12, 9 + 4 * 3, 12]
    for name, expected in found[0][1].student.state_dict().items():
        for memory in (1, 2):
            torch.testing.assert_close(found[memory][1].student.state_dict()[name], expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_students_batch_statistics_are_those_of_its_last_weights(tmp_path: Path) -> None:
    """Of one batch, evaluation gives what batch statistics give, but for the variances' count."""
    batches = noise(tmp_path, 16)
    detector = model(epochs=2)
    with torch.enable_grad():
        detector.fit(batches)
    taught = detector.teacher(next(iter(batches)))
    found = detector.student(taught)
    for settled, expected in zip(found, detector.student.train()(taught), strict=True):
        assert (settled - expected).abs().mean() < 0.05 * expected.std()


def test_the_student_does_not_see_what_it_must_restore_but_through_the_embedding() -> None:
    """All that passes from teacher to decoder is a map of an eighth of the finest one's side."""
    student = Student(Architecture((8, 16, 32)))
    maps = [torch.rand(1, 8, 32, 32), torch.rand(1, 16, 16, 16), torch.rand(1, 32, 8, 8)]
    assert student[0](maps).shape == (1, 64, 4, 4)
