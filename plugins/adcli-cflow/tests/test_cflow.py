"""CFlow's mathematics: densities against autograd and closed forms; the rest against the official code."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adcli import OptionError
from adcli.nn import Batches
from adcli.testing import assert_defect_is_found, stack_images, textured_batches
from adcli_cflow import CflowOptions
from adcli_cflow.flows import Flow, positional_encoding, rotation
from adcli_cflow.model import Cflow, rate

SIZE = (64, 48)
SMALL = {"backbone": "random:resnet18", "layers": "1,2", "coupling_blocks": 2, "condition": 16}


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Twelve textured images."""
    return textured_batches(tmp_path, 12, SIZE, batch_size=5, contrast=40)


def model(**options: object) -> Cflow:
    """Make a model with random weights."""
    torch.manual_seed(0)
    return Cflow(CflowOptions.parse(SMALL | options), image_size=SIZE).eval()


def shaken(flow: Flow) -> Flow:
    """Draw rotations, and make couplings strong, as after a long training."""
    flow.rotate()
    with torch.no_grad():
        for parameter in flow.parameters():
            if parameter.requires_grad:
                parameter += 0.5 * torch.randn_like(parameter)
    return flow


def test_the_log_determinant_is_that_of_autograds_jacobian() -> None:
    torch.manual_seed(0)
    flow = shaken(Flow(10, 8, blocks=3, clamp=1.9)).double()
    features, conditions = torch.randn(4, 10).double(), torch.randn(4, 8).double()
    _, log_determinants = flow(features, conditions)
    for i in range(4):

        def z(row: Tensor, condition: Tensor = conditions[i : i + 1]) -> Tensor:
            return flow(row[None], condition)[0][0]

        jacobian = torch.autograd.functional.jacobian(z, features[i])
        _, expected = torch.linalg.slogdet(jacobian)
        torch.testing.assert_close(log_determinants[i], expected)


def test_the_likelihood_is_a_density() -> None:
    """Its integral over the plane is one."""
    torch.manual_seed(0)
    flow = shaken(Flow(2, 4, blocks=2, clamp=1.9))
    axis = torch.linspace(-60, 60, 1201)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        densities = (2 * flow.log_likelihood(points, torch.ones(len(points), 4))).exp()
    assert densities.sum() * 0.1**2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2, 33])
def test_rotations_keep_lengths_and_orientation(channels: int) -> None:
    matrix = rotation(channels).double()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(channels).double(), atol=1e-5, rtol=0)
    assert torch.linalg.det(matrix) == pytest.approx(1, abs=1e-4)


def test_parameters_are_as_many_as_in_the_official_architecture_for_wide_resnet_50() -> None:
    """Counted by hand: eight blocks a scale, each with a network of two layers, a scaling and a shift."""
    counts = []
    for channels in (512, 1024, 2048):
        before = channels // 2 + 128
        network = (before * 2 * before + 2 * before) + (2 * before * channels + channels)
        counts.append(8 * (network + 2 * channels))
    found = []
    for channels in (512, 1024, 2048):
        # A block at a time: eight of the largest take gigabytes.
        block = Flow(channels, 128, blocks=1, clamp=1.9)
        found.append(8 * sum(p.numel() for p in block.parameters() if p.requires_grad))
    assert found == counts
    assert sum(found) == 81_647_616


def test_positions_are_encoded_as_in_the_official_code() -> None:
    """A transcription, number by number."""
    encoding = positional_encoding(16, 5, 7)
    assert encoding.shape == (16, 5, 7)
    for i in range(4):
        frequency = math.exp(-math.log(10000) * 2 * i / 8)
        for y in range(5):
            for x in range(7):
                expected = [math.sin(x * frequency), math.cos(x * frequency)]
                expected += [math.sin(y * frequency), math.cos(y * frequency)]
                found = encoding[[2 * i, 2 * i + 1, 8 + 2 * i, 8 + 2 * i + 1], y, x]
                np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_the_step_size_warms_up_and_falls_as_published() -> None:
    assert rate(0) == pytest.approx(0.1)
    lowest, at_warm = 1e-3, 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * 2 / 25)) / 2
    assert rate(1 / 25) == pytest.approx((0.1 + at_warm) / 2)
    assert rate(2 / 25) == pytest.approx(at_warm)
    assert rate(2.9 / 25) == rate(2 / 25)
    assert rate(24 / 25) == pytest.approx(lowest + (1 - lowest) * (1 + math.cos(math.pi * 24 / 25)) / 2)


@torch.inference_mode()
def test_the_map_keeps_the_order_of_the_official_one(batches: Batches) -> None:
    detector = model()
    images = next(iter(batches))
    maps = detector.backbone(images)
    detector.greatest = torch.tensor([-1.0, -1.2])
    total = torch.zeros(len(images), 1, *SIZE)
    for part, greatest in zip(detector.log_likelihoods(maps), detector.greatest, strict=True):
        total += F.interpolate((part - greatest).exp(), size=SIZE, mode="bilinear", align_corners=True)
    scores = detector(images)
    assert scores.map is not None
    torch.testing.assert_close(2 * (-scores.map).exp(), total)
    torch.testing.assert_close(scores.image, scores.map.flatten(1).amax(dim=1))


def test_the_loss_is_minus_the_log_sigmoid_of_the_likelihood_per_channel(batches: Batches) -> None:
    detector = model(fibre=10_000)
    maps = detector.backbone(next(iter(batches)))
    losses = list(detector.losses(maps))
    assert len(losses) == 2
    for loss, flow, part in zip(losses, detector.flows, maps, strict=True):
        rows = part.permute(0, 2, 3, 1).reshape(-1, part.shape[1])
        encoding = positional_encoding(16, *part.shape[2:]).flatten(1).T.repeat(len(part), 1)
        z, log_determinant = flow(rows, encoding)
        log_normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
        expected = -torch.log(torch.sigmoid((log_normal + log_determinant) / part.shape[1])).mean()
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_a_step_is_made_for_every_fibre(batches: Batches) -> None:
    maps = model().backbone(next(iter(batches)))
    assert len(list(model(fibre=100).losses(maps))) == math.ceil(5 * 16 * 12 / 100) + math.ceil(5 * 8 * 6 / 100)


def test_kept_features_train_the_same_flows_as_features_computed_anew(batches: Batches) -> None:
    """Rounding depends on how many images are computed together."""
    kept, anew = model(epochs=2), model(epochs=2, memory=0)
    counts = []
    for detector in (kept, anew):
        seen: list[int] = []
        detector.backbone.register_forward_hook(lambda _, given, maps, seen=seen: seen.append(len(given[0])))
        torch.manual_seed(1)
        detector.fit(batches)
        # A blank image gives the maps' shapes.
        counts.append(sum(seen) - 1)
    # The greatest likelihoods are found in another pass.
    assert counts == [12, 3 * 12]
    for (name, one), other in zip(kept.named_parameters(), anew.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
    torch.testing.assert_close(kept.greatest, anew.greatest, rtol=1e-3, atol=1e-3)


def test_constants_are_the_greatest_likelihoods_of_good_images(batches: Batches) -> None:
    detector = model(epochs=1)
    detector.fit(batches)
    with torch.inference_mode():
        maps = detector.backbone(stack_images(batches))
        found = [float(part.max()) for part in detector.log_likelihoods(maps)]
    np.testing.assert_allclose(detector.greatest.numpy(), found, rtol=1e-4)


def test_training_raises_the_likelihood_of_good_images_and_defects_stand_out(batches: Batches) -> None:
    detector = model(epochs=6, learning_rate=1e-3, fibre=128, sigma=2)
    maps = detector.backbone(next(iter(batches)))
    before = [float(part.mean()) for part in detector.log_likelihoods(maps)]
    detector.fit(batches)
    after = [float(part.mean()) for part in detector.log_likelihoods(maps)]
    assert all(later > earlier for later, earlier in zip(after, before, strict=True))
    noise = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    image = next(iter(batches))[:1]
    assert_defect_is_found(detector, image, slice(24, 44), slice(16, 36), fill=noise, factor=1.5)


def test_a_condition_that_cannot_encode_two_axes_is_refused() -> None:
    with pytest.raises(OptionError, match=r"condition=18.*multiple of 4"):
        model(condition=18)
