"""Every model fits and scores on a device that has no float64, and as on the CPU."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # Not as a stand-in, which cannot be used in a dispatch mode.
from fake_device import DEVICE, OnDevice, device_without_float64
from PIL import Image

from adcli._plugins.registry import registry
from adcli.data import ImageSource, items_of
from adcli.nn import Batches, Session, devices
from adcli.nn.components import principal_components, principal_directions, randomised_components

SIZE = (32, 48)

CASES: list[tuple[str, dict[str, object]]] = [
    ("cflow", {"epochs": 1}),
    ("dfkde", {}),
    ("dfm", {}),
    ("dfm", {"memory": 0}),
    ("ganomaly", {"epochs": 1}),
    ("padim", {"layers": (1, 2)}),
    ("padim", {"reduction": "pca"}),
    ("patchcore", {"standardise": True, "reweight": 2}),
    ("reverse_distillation", {"epochs": 1}),
    ("stfpm", {"epochs": 1}),
]


@pytest.fixture(autouse=True)
def _declare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "NO_FLOAT64", {DEVICE.type})
    # Apple's GPUs have fused optimizers, too.
    optimizers = (
        sys.modules["torch.optim.adam"],
        sys.modules["torch.optim.sgd"],
        sys.modules[torch.optim.Optimizer.__module__],
    )
    for module in optimizers:
        if hasattr(module, "_get_fused_kernels_supported_devices"):
            monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type])


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


def test_the_device_refuses_float64_and_tensors_of_the_cpu() -> None:
    with device_without_float64() as device:
        rows = torch.ones(3).to(device)
        assert isinstance(rows, OnDevice)
        assert rows.device == DEVICE
        assert float((2 * rows).sum()) == 6
        assert type(rows.cpu().double()) is torch.Tensor
        for refused in (
            lambda: rows.double(),
            lambda: torch.zeros(2, device=device, dtype=torch.float64),
            lambda: torch.tensor([1.0], dtype=torch.float64).to(device),
        ):
            with pytest.raises(TypeError, match="no float64"):
                refused()  # type: ignore[no-untyped-call]
        with pytest.raises(RuntimeError, match="beside"):
            rows + torch.ones(3)


def test_components_are_those_of_the_cpu() -> None:
    rows = torch.randn(40, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 13)
    expected = principal_directions([rows], 3), principal_components(rows, 0.9), principal_components(rows.T, 0.9)
    torch.manual_seed(0)
    randomised = randomised_components(lambda: torch.split(rows, 9), 0.9, 8)
    with device_without_float64() as device, torch.no_grad():
        there = rows.to(device)
        found = principal_directions([there], 3), principal_components(there, 0.9), principal_components(there.T, 0.9)
        torch.manual_seed(0)
        again = randomised_components(lambda: torch.split(there, 9), 0.9, 8)
        torch.testing.assert_close(found[0].cpu(), expected[0])
        for one, other in zip((*found[1:], again), (*expected[1:], randomised), strict=True):
            assert one.directions.device == one.mean.device == one.variances.device == DEVICE
            torch.testing.assert_close(one.directions.cpu(), other.directions, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "options"), CASES, ids=["-".join([name, *options]) for name, options in CASES])
def test_models_score_there_as_on_the_cpu(name: str, options: dict[str, object], images: list[Path]) -> None:
    provided = registry().models[name]
    spec = provided.spec
    scores = []
    for device in (torch.device("cpu"), DEVICE):
        with devices.repeatable(0), device_without_float64():
            parsed = spec.options.parse({**spec.quick, **options})
            model = provided.load(spec.target)(parsed, image_size=SIZE, pretrained=True).to(device)
            source = ImageSource(SIZE, workers=0)
            model.fit(Batches(items_of(images), source, batch_size=5, session=Session(device=device)))
            with torch.no_grad():
                found = model.eval()(next(iter(Batches(items_of(images), source))).to(device))
            assert found.image.device == device
            scores.append(found.image.detach().cpu())
    # Steps magnify roundings, which differ with the layout of a wrapped tensor.
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-3 if spec.one_pass else 0.1, atol=1e-5)
