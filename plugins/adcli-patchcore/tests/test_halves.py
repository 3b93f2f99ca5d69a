"""Products of halves are as exact as float32's. What a GPU multiplies in 16 bits is here multiplied in float32."""

import pytest
import torch

from adcli.nn import Batches
from adcli.testing import fit_model, stack_images, textured_batches
from adcli_patchcore import PatchcoreOptions, coreset, model
from adcli_patchcore.halves import Halves


@pytest.mark.parametrize("size", [1, 12, 128, 1000])
@pytest.mark.parametrize("factor", [1e-6, 1.0, 3e5])
def test_compared_rows_differ_from_float64_as_float32_does(size: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(size)
    rows, columns = (torch.randn(count, size, generator=generator) * factor for count in (50, 43))
    # One channel that is much larger must not cost the others' digits.
    rows[:, 0] *= 50
    origin = torch.full((size,), factor)
    halves = Halves.of(rows, origin, columns)
    split = halves.split_columns(columns)
    assert halves.rows.dtype == split.dtype == torch.float16
    assert split.shape == (48, halves.rows.shape[1])
    assert split.shape[1] % 8 == 0
    part = slice(10, 30)
    found = halves.compare(part, split) / halves.scale**2
    assert (found[:, 43:] == torch.inf).all()
    near, far = rows[part].double() - origin, columns.double() - origin
    exact = far.square().sum(dim=1) / 2 - near @ far.T
    lengths = near.norm(dim=1)[:, None] + far.norm(dim=1)
    assert float(((found[:, :43] - exact).abs() / lengths**2).max()) < 1e-6


def test_zeros_stay_zeros() -> None:
    halves = Halves.of(torch.zeros(3, 5), torch.zeros(5))
    assert (halves.compare(slice(None), halves.split_columns(torch.zeros(8, 5))) == 0).all()


def test_the_coreset_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(600, 24, generator=torch.Generator().manual_seed(0)) * 3 + 10
    expected = list(coreset.greedy_k_centre(points, 150, block=64))
    monkeypatch.setattr(coreset, "has_matrix_units", lambda device: True)
    assert list(coreset.greedy_k_centre(points, 150, block=64)) == expected


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"neighbours": 3, "reweight": 4}])
def test_scores_are_the_same(
    options: dict[str, object], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: Batches = textured_batches(tmp_path_factory.mktemp("images"), 6, (64, 80), batch_size=3)
    parsed = PatchcoreOptions.parse({"backbone": "random:resnet18", "coreset": 0.3, **options})
    fitted, images = fit_model(model.PatchCore, parsed, batches), stack_images(batches) * 0.9
    expected = fitted(images)
    monkeypatch.setattr(model, "has_matrix_units", lambda device: True)
    monkeypatch.setattr(model, "BANK_BLOCK", 50)
    found = fitted(images)
    torch.testing.assert_close(found.image, expected.image, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.map, expected.map, rtol=1e-5, atol=1e-7)
