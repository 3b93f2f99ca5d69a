"""SuperSimpleNet's mathematics, against closed forms and plain transcriptions of the official code."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adcli.data import Sample
from adcli.nn import Batches, LabelledBatch
from adcli.testing import stack_images, textured_batches
from adcli_supersimplenet import SuperSimpleNetOptions
from adcli_supersimplenet.heads import Heads
from adcli_supersimplenet.model import (
    SuperSimpleNet,
    add_noise,
    flip,
    focal_loss,
    segmentation_loss,
    shrink_masks,
)
from adcli_supersimplenet.noise import draw_masks, perlin_noise

SIZE = (64, 48)
SMALL = {"backbone": "random:resnet18", "layers": "2"}
DARK = 0.6


def model(**options: object) -> SuperSimpleNet:
    """Make a model with random weights."""
    torch.manual_seed(0)
    return SuperSimpleNet(SuperSimpleNetOptions.parse(SMALL | options), image_size=SIZE).eval()


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Twelve textured images."""
    return textured_batches(tmp_path, 12, SIZE, contrast=40)


@pytest.fixture
def taught(tmp_path: Path) -> Batches:
    """Eight textured images, and two with a darker spot that their masks mark."""
    made = textured_batches(tmp_path, 10, SIZE, contrast=40)
    good, spoilt = made.items[:8], made.items[8:]
    defects = []
    for i, item in enumerate(spoilt):
        rows, columns = slice(8 + 20 * i, 20 + 20 * i), slice(6 + 20 * i, 18 + 20 * i)
        pixels = np.array(Image.open(item.path))
        pixels[rows, columns] = (DARK * pixels[rows, columns]).astype(np.uint8)
        Image.fromarray(pixels).save(item.path)
        mask = np.zeros(SIZE, np.uint8)
        mask[rows, columns] = 255
        Image.fromarray(mask).save(tmp_path / f"{i}_mask.png")
        defects.append(Sample(item.path, "defect", tmp_path / f"{i}_mask.png", "spot"))
    return Batches(good, made.source, batch_size=8, defects=defects)


def test_parameters_are_as_many_as_in_the_official_architecture_for_wide_resnet_50() -> None:
    channels = 512 + 1024
    adaptor = channels * channels + channels
    segmentation = (channels * 1024 + 1024) + 2 * 1024 + 1024
    classification = (channels + 1) * 128 * 25 + 128 + 2 * 128
    expected = adaptor + segmentation + classification + (2 * 128 + 2 + 1)
    assert sum(parameter.numel() for parameter in Heads(channels).parameters()) == expected


@torch.no_grad()
def test_features_are_adapted_as_by_joining_averaging_and_mixing() -> None:
    """The official order, at a size that the grids cover and at another."""
    for size in (SIZE, (61, 45)):
        torch.manual_seed(0)
        detector = SuperSimpleNet(SuperSimpleNetOptions.parse(SMALL | {"layers": "1,2"}), image_size=size).eval()
        torch.nn.init.normal_(detector.heads.adaptor.bias)  # type: ignore[arg-type]
        maps = list(detector.backbone(torch.rand(2, 3, *size)))
        grid = [2 * side for side in maps[0].shape[2:]]
        if size == SIZE:
            joined = torch.cat([F.interpolate(part, size=grid, mode="bilinear") for part in maps], dim=1)
            expected = detector.heads.adaptor(F.avg_pool2d(joined, 3, stride=1, padding=1))
            torch.testing.assert_close(detector.adapt(maps), expected, rtol=1e-4, atol=1e-4)
        assert list(detector.adapt(maps).shape[2:]) == grid


def test_the_loss_of_positions_is_that_of_the_official_code() -> None:
    torch.manual_seed(0)
    logits, marked = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) < 0.3).float()
    good, bad = logits[marked == 0], logits[marked > 0]
    truncated = torch.clip(good + 0.5, min=0).mean() + torch.clip(-bad + 0.5, min=0).mean()
    chance = torch.sigmoid(logits)
    of_truth = chance * marked + (1 - chance) * (1 - marked)
    focal = ((1 - of_truth) ** 4 * -of_truth.log()).mean()
    torch.testing.assert_close(segmentation_loss(logits, marked), truncated + focal)


def test_losses_have_the_values_that_can_be_computed_by_hand() -> None:
    undecided = torch.zeros(4)
    truth = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert float(focal_loss(undecided, truth)) == pytest.approx(math.log(2) / 16)
    assert float(segmentation_loss(undecided, truth)) == pytest.approx(0.5 + 0.5 + math.log(2) / 16)
    certain = 100 * (2 * truth - 1)
    assert float(segmentation_loss(certain, truth)) == pytest.approx(0)
    # Of one kind alone, there is no loss of the other; of nothing, none at all.
    assert float(segmentation_loss(undecided, torch.zeros(4))) == pytest.approx(0.5 + math.log(2) / 16)
    assert float(segmentation_loss(undecided[:0], truth[:0])) == 0


def test_losses_of_extreme_logits_have_gradients() -> None:
    logits = torch.tensor([-80.0, 80.0, 0.0], requires_grad=True)
    segmentation_loss(logits, torch.tensor([1.0, 0.0, 1.0])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0] < 0 < logits.grad[1]


def test_perlin_noise_is_zero_at_the_corners_of_cells_and_smooth() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        noise = perlin_noise((64, 32), (4, 8))
        assert noise.abs().max() <= 1
        torch.testing.assert_close(noise[::16, ::4], torch.zeros(4, 8), atol=1e-6, rtol=0)
        # Continuous where cells meet: no step there is larger than those within.
        across = (noise[1:] - noise[:-1]).abs()
        assert across[15::16].max() <= 1.5 * across.max()


def test_perlin_noise_is_as_often_above_zero_as_below() -> None:
    torch.manual_seed(0)
    noise = torch.stack([perlin_noise((32, 32), (8, 8)) for _ in range(100)])
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float((noise > 0.1).float().mean()) == pytest.approx(float((noise < -0.1).float().mean()), abs=0.02)


def test_perlin_noise_is_a_transcription_of_its_definition() -> None:
    torch.manual_seed(5)
    noise = perlin_noise((6, 10), (2, 5))
    torch.manual_seed(5)
    angles = (2 * math.pi * torch.rand(3, 6)).double().numpy()
    for i in range(6):
        for j in range(10):
            y, x = i / 3, j / 2
            row, column = int(y), int(x)
            total = 0.0
            for a in (0, 1):
                for b in (0, 1):
                    u, v = y - row - a, x - column - b
                    angle = angles[row + a, column + b]
                    weight = np.prod([1 - (6 * d**5 - 15 * d**4 + 10 * d**3) for d in (abs(u), abs(v))])
                    total += weight * (math.sin(angle) * u + math.cos(angle) * v)
            assert float(noise[i, j]) == pytest.approx(math.sqrt(2) * total, abs=1e-5)


def test_half_of_the_masks_are_empty_and_a_higher_threshold_marks_less() -> None:
    torch.manual_seed(0)
    low, high = draw_masks(400, (32, 24), 0.2), draw_masks(400, (32, 24), 0.6)
    assert low.shape == (400, 1, 32, 24)
    for masks in (low, high):
        # With few cells and a high threshold, others mark nothing, too.
        assert 0.4 <= float((~masks.flatten(1).any(dim=1)).float().mean()) <= 0.75
    assert 0.08 <= float(low.float().mean()) <= 0.2
    assert 0 < float(high.float().mean()) < 0.2 * float(low.float().mean())


def test_masks_fit_grids_smaller_than_their_cells() -> None:
    torch.manual_seed(0)
    assert draw_masks(50, (3, 5), 0.2).any()


def test_noise_lies_where_it_is_wanted_and_has_the_deviation_asked_for() -> None:
    torch.manual_seed(0)
    features, places = torch.rand(4, 50, 16, 16), torch.rand(4, 1, 16, 16) < 0.3
    added = add_noise(features, places, 0.1) - features
    assert not added[~places.expand_as(added)].any()
    assert float(added[places.expand_as(added)].std()) == pytest.approx(0.1, rel=0.05)


def test_masks_shrink_to_what_they_mark_at_least_half_of() -> None:
    masks = torch.zeros(4, 1, 8, 8)
    masks[0, 0, :4, :3] = 1
    masks[1, 0, 5, 5] = 1
    masks[3] = torch.nan
    found = shrink_masks(masks, (2, 2))
    assert found[0, 0].tolist() == [[1, 0], [0, 0]]
    # A scratch that covers half of no position still marks one.
    assert found[1, 0].tolist() == [[0, 0], [0, 1]]
    assert not found[2].any()
    assert found[3].isnan().all()


def test_flips_are_the_four_that_keep_the_shape() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    found = flip(image.expand(200, 1, 2, 3), torch.Generator().manual_seed(0))
    kinds = {tuple(one.flatten().tolist()) for one in found}
    assert kinds == {tuple(image.flip(axes).flatten().tolist()) for axes in ((), (2,), (3,), (2, 3))}
    assert torch.equal(found, flip(image.expand(200, 1, 2, 3), torch.Generator().manual_seed(0)))


def labelled(masks: Tensor, labels: list[float]) -> LabelledBatch:
    """Return images of noise with masks and labels."""
    return LabelledBatch(torch.rand(len(labels), 3, *SIZE), masks, torch.tensor(labels))


def test_defects_without_a_mask_have_no_noise_and_no_loss_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = model(perlin_threshold=-1)
    seen: list[Tensor] = []
    monkeypatch.setattr(
        "adcli_supersimplenet.model.segmentation_loss",
        lambda logits, marked: seen.append(marked) or segmentation_loss(logits, marked),
    )
    masks = torch.zeros(2, 1, *SIZE)
    masks[1] = torch.nan
    loss = detector.labelled_loss(labelled(masks, [0.0, 1.0]))
    assert loss.isfinite()
    # Two copies of the image that is known, on a grid of a quarter of the image's size.
    assert len(seen[0]) == 2 * (SIZE[0] // 4) * (SIZE[1] // 4)


@pytest.mark.parametrize("known", [False, True])
def test_the_segmentation_head_learns_from_labels_with_known_defects_alone(known: bool) -> None:
    """Its share of the gradient of the classification loss."""
    heads = Heads(4).train()
    features = torch.rand(3, 4, 8, 8)
    _, scores = heads(features, apart=not known)
    scores.sum().backward()
    assert (heads.segmentation[0].weight.grad is not None) == known


def test_gradients_are_clipped_with_known_defects(taught: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *given: norms.append(given[1]))
    model(epochs=1).fit(taught)
    assert norms == [1.0] * 2
    norms.clear()
    model(epochs=1).fit(Batches(taught.items, taught.source, batch_size=8))
    assert not norms


def test_the_step_sizes_are_those_of_the_official_code_and_fall_twice() -> None:
    optimizer = model()._make_optimizer()
    adaptor, heads = optimizer.param_groups
    assert (adaptor["lr"], adaptor["weight_decay"]) == (1e-4, 1e-2)
    assert (heads["lr"], heads["weight_decay"]) == (2e-4, 1e-5)
    assert len(adaptor["params"]) == 2


def test_kept_features_train_the_same_heads_as_features_computed_anew(batches: Batches) -> None:
    """Rounding depends on how many images are computed together."""
    found = []
    for memory in (0, 16):
        detector = model(epochs=1, memory=memory)
        torch.manual_seed(1)
        detector.fit(batches)
        found.append(detector)
    for (name, one), other in zip(found[0].heads.named_parameters(), found[1].heads.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=name)


def test_the_backbone_does_not_learn(batches: Batches) -> None:
    detector = model(epochs=1)
    before = {name: value.clone() for name, value in detector.backbone.state_dict().items()}
    detector.fit(batches)
    for name, value in detector.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.thorough
def test_known_defects_are_found_where_they_are_and_others_are_not(taught: Batches) -> None:
    learnt, unaware = (model(epochs=25, learning_rate=2e-3, flips=False, sigma=2) for _ in range(2))
    learnt.fit(taught)
    unaware.fit(Batches(taught.items, taught.source, batch_size=8))
    good = stack_images(taught)
    spoilt = good.clone()
    spoilt[:, :, 30:42, 14:26] *= DARK
    with torch.inference_mode():
        chances = [float((one(spoilt).image[:, None] > one(good).image).float().mean()) for one in (learnt, unaware)]
        maps = learnt(spoilt).map
    assert chances[0] > 0.9
    assert chances[0] > chances[1] + 0.2
    assert maps is not None
    rows, columns = np.divmod(maps.flatten(1).argmax(dim=1).numpy(), SIZE[1])
    assert ((rows >= 26) & (rows < 46) & (columns >= 10) & (columns < 30)).mean() > 0.7
