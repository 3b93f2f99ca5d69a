"""GANomaly's networks and training, against the paper's numbers and a plain transcription of the official steps."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from adcli.data import ImageSource, items_of
from adcli.nn import Batches
from adcli_ganomaly import GanomalyOptions
from adcli_ganomaly.model import COLLAPSED, Ganomaly

SIZE = (32, 32)


def model(size: tuple[int, int] = SIZE, seed: int = 0, **options: object) -> Ganomaly:
    torch.manual_seed(seed)
    return Ganomaly(GanomalyOptions.parse({"features": 8, "latent": 10, **options}), image_size=size)


def stripes(count: int, seed: int) -> list[np.ndarray]:
    """Return images of slanted stripes."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32]
    images = []
    for _ in range(count):
        wave = np.sin((rows + columns) / 3 + random.uniform(0, 6))
        images.append((128 + 60 * wave + random.normal(0, 6, SIZE)).clip(0, 255).astype(np.uint8))
    return images


def saved(images: list[np.ndarray], folder: Path, batch_size: int) -> Batches:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return Batches(items_of(sorted(folder.glob("*.png"))), ImageSource(SIZE), batch_size=batch_size)


def test_the_default_networks_are_the_official_ones_for_32_by_32_images() -> None:
    """Parameters counted by hand from the official layers."""
    detector = Ganomaly(GanomalyOptions(), image_size=SIZE)
    halving = 16 * (3 * 64 + 64 * 128 + 128 * 256) + 2 * (128 + 256)
    encoder = halving + 16 * 256 * 100
    decoder = 16 * (100 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 * (256 + 128 + 64)
    assert sum(p.numel() for p in detector.generator.parameters()) == 2 * encoder + decoder
    assert sum(p.numel() for p in detector.discriminator.parameters()) == halving + 16 * 256


def official_steps(detector: Ganomaly, batches: list[Tensor], rate: float) -> None:
    """Train as the official code does: two optimisers, the generator's step first."""
    generator, discriminator = detector.generator, detector.discriminator
    of_generator, of_discriminator = (
        torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999)) for network in (generator, discriminator)
    )
    entropy = nn.BCELoss()
    for batch in batches:
        images = 2 * batch - 1
        fake, code, code_again = generator(images)
        real_odds, fake_odds = discriminator(images)[0], discriminator(fake.detach())[0]
        of_generator.zero_grad()
        adversarial = (discriminator(images)[1] - discriminator(fake)[1]).square().mean()
        contextual, encoder = (fake - images).abs().mean(), (code_again - code).square().mean()
        (1 * adversarial + 50 * contextual + 1 * encoder).backward(retain_graph=True)
        of_generator.step()
        of_discriminator.zero_grad()
        real = entropy(real_odds.sigmoid(), torch.ones_like(real_odds))
        (0.5 * (real + entropy(fake_odds.sigmoid(), torch.zeros_like(fake_odds)))).backward()
        of_discriminator.step()


def test_one_optimiser_makes_the_official_steps_of_two() -> None:
    plain, detector = model().double().train(), model().double().train()
    batches = [torch.rand(6, 3, *SIZE, dtype=torch.float64) for _ in range(4)]
    official_steps(plain, batches, 2e-4)
    optimizer = torch.optim.Adam(detector.parameters(), 2e-4, betas=(0.5, 0.999))
    for batch in batches:
        optimizer.zero_grad()
        detector.loss(batch).backward()
        optimizer.step()
    for (name, ours), theirs in zip(detector.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9, msg=name)


@torch.inference_mode()
def test_the_score_is_the_mean_squared_difference_of_the_codes() -> None:
    detector, images = model().eval(), torch.rand(3, 3, *SIZE)
    code = detector.generator.encode(2 * images - 1)
    again = detector.generator.encode_again(detector.generator.decode(code))
    expected = [np.mean((code[i] - again[i]).numpy() ** 2) for i in range(3)]
    np.testing.assert_allclose(detector(images).image.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 90), (128, 64)])
def test_any_size_is_padded_to_what_the_networks_restore(size: tuple[int, int]) -> None:
    detector = model(size).eval()
    height, width = detector.pyramid.padded
    assert size[0] <= height < size[0] + 2**detector.pyramid.halvings
    assert size[1] <= width < size[1] + 2**detector.pyramid.halvings
    images = torch.rand(2, 3, *size)
    assert torch.isfinite(detector(images).image).all()
    assert detector.generator(detector._prepare(images))[0].shape == (2, 3, height, width)


def test_a_discriminator_that_is_never_deceived_is_drawn_anew() -> None:
    detector = model().train()
    before = deepcopy(detector.discriminator.state_dict())
    detector.loss(torch.rand(2, 3, *SIZE))
    assert not detector.collapsed
    detector.collapsed = torch.tensor(True)
    detector.loss(torch.rand(2, 3, *SIZE))
    assert not torch.equal(before["decide.weight"], detector.discriminator.decide.weight)
    with torch.no_grad():
        detector.discriminator_loss = lambda images, restored: torch.tensor(COLLAPSED / 2)  # type: ignore[method-assign]
        detector.loss(torch.rand(2, 3, *SIZE))
    assert detector.collapsed


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_step_size_falls_to_zero_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str) -> None:
    rates = []

    def step(optimizer: torch.optim.Adam, *arguments: object) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    detector = model(features=1, epochs=4, learning_rate=0.1, schedule=schedule)
    detector.fit(saved(stripes(2, seed=0), tmp_path / "good", batch_size=2))
    falling = [0.1 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates == pytest.approx([0.1] * 4 if schedule == "constant" else falling)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.matrix) for seed in (1, 2, 3, 4))])
def test_training_does_not_collapse(tmp_path: Path, seed: int) -> None:
    """Whatever the seed, images with a defect score higher, and reconstructions differ from one another."""
    batches = saved(stripes(32, seed=100), tmp_path / "good", batch_size=16)
    detector = model(seed=seed, features=16, epochs=100, learning_rate=1e-3)
    detector.fit(batches)
    good = torch.cat(list(saved(stripes(24, seed=200), tmp_path / "test", batch_size=24)))
    damaged = good.clone()
    damaged[:, :, 8:20, 8:20] = 1 - damaged[:, :, 8:20, 8:20]
    with torch.inference_mode():
        scores = torch.cat([detector(good).image, detector(damaged).image]).numpy()
        restored = detector.generator(detector._prepare(good))[0]
    assert roc_auc_score([0] * 24 + [1] * 24, scores) > 0.9
    assert (restored - detector._prepare(good)).abs().mean() < 0.25
    assert restored.std(dim=0).mean() > 0.2
