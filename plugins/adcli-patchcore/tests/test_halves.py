"""With halves, coreset and scores are the same, and a bank is never served as it was before it changed."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from adcli.nn import Batches
from adcli.testing import fit_model, stack_images, textured_batches
from adcli_patchcore import PatchcoreOptions, coreset, halves, model
from adcli_patchcore.halves import BankSplitter, Halves

pytest.importorskip("triton")


def test_the_coreset_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(600, 24, generator=torch.Generator().manual_seed(0)) * 3 + 10
    expected = list(coreset.greedy_k_centre(points, 150, block=64))
    monkeypatch.setattr(coreset, "has_matrix_units", lambda device: True)
    assert list(coreset.greedy_k_centre(points, 150, block=64)) == expected


def fitted(batches: Batches, **options: object) -> model.PatchCore:
    """Fit with random weights."""
    return fit_model(
        model.PatchCore, PatchcoreOptions.parse({"backbone": "random:resnet18", "coreset": 0.3, **options}), batches
    )


@pytest.fixture
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return textured_batches(tmp_path_factory.mktemp("images"), 6, (64, 80), batch_size=3)


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"neighbours": 3, "reweight": 4}, {"standardise": True, "reweight": 1}])
def test_scores_are_the_same(options: dict[str, object], batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, images = fitted(batches, **options), stack_images(batches) * 0.9
    expected = scored(images)
    monkeypatch.setattr(model, "has_matrix_units", lambda device: True)
    monkeypatch.setattr(model, "BANK_BLOCK", 56)
    found = scored(images)
    torch.testing.assert_close(found.image, expected.image, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.map, expected.map, rtol=1e-5, atol=1e-7)


def halved(bank: Tensor) -> Tensor:
    return BankSplitter().split(bank).halves.high


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The tensors that have been split."""
    seen: list[Tensor] = []
    split = Halves.of

    def count(rows: Tensor, origin: Tensor | None = None) -> Halves:
        seen.append(rows)
        return split(rows, origin)

    monkeypatch.setattr(halves.Halves, "of", count)
    return seen


def test_a_bank_is_split_once(counted: list[Tensor]) -> None:
    bank, splitter = torch.randn(5, 8), BankSplitter()
    first = splitter.split(bank)
    with torch.inference_mode():
        assert splitter.split(bank) is first
    assert len(counted) == 1


def change_in_inference_mode(bank: Tensor) -> Tensor:
    with torch.inference_mode():
        return bank.mul_(-1)


def give_other_data(bank: Tensor) -> Tensor:
    bank.data = -bank
    return bank


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "another": lambda bank: -bank,
    "in place": lambda bank: bank.mul_(-1),
    "one value": lambda bank: bank[0].neg_(),
    "in inference mode": change_in_inference_mode,
    "other data": give_other_data,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bank_that_changes_is_split_again(change: str) -> None:
    bank, splitter = torch.randn(5, 8), BankSplitter()
    before = splitter.split(bank).halves.high
    changed = CHANGES[change](bank)
    bank = bank if change == "one value" else changed
    after = splitter.split(bank).halves.high
    assert torch.equal(after, halved(bank))
    assert not torch.equal(after, before)


def test_an_outlier_costs_the_other_members_no_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(60, 20, generator=generator) + 100
    bank[3], bank[9] = 1e12, 0
    origin, members = BankSplitter().split(bank)
    rows = bank + 1e-3 * torch.randn(60, 20, generator=generator)
    _, index = Halves.of(rows, origin).find_nearest(members)
    assert index.tolist() == list(range(60))


def test_an_inference_tensor_which_counts_no_changes_is_split_each_time() -> None:
    splitter = BankSplitter()
    with torch.inference_mode():
        bank = torch.randn(5, 8)
        splitter.split(bank)
        bank.mul_(-1)
        assert torch.equal(splitter.split(bank).halves.high, halved(bank))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda splitter: pickle.loads(pickle.dumps(splitter))])
def test_a_copy_has_nothing_kept(duplicate: Callable[[BankSplitter], BankSplitter], counted: list[Tensor]) -> None:
    bank, splitter = torch.randn(5, 8), BankSplitter()
    splitter.split(bank)
    duplicate(splitter).split(bank)
    assert len(counted) == 2


def test_another_bank_at_the_same_address_is_split() -> None:
    splitter = BankSplitter()
    for seed in range(5):
        bank = torch.randn(50, 8, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(splitter.split(bank).halves.high, halved(bank))
        del bank


def load(scored: model.PatchCore, other: model.PatchCore) -> None:
    scored.load_state_dict(other.state_dict())


def assign(scored: model.PatchCore, other: model.PatchCore) -> None:
    scored.load_state_dict(other.state_dict(), assign=True)


def restore(scored: model.PatchCore, other: model.PatchCore) -> None:
    scored.restore(other.weights())


@pytest.mark.thorough
@pytest.mark.parametrize("change", [load, assign, restore])
def test_a_model_whose_bank_is_loaded_scores_by_the_new_one(
    change: Callable[[model.PatchCore, model.PatchCore], None], batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, other, images = fitted(batches), fitted(batches), stack_images(batches)
    with torch.no_grad():
        other.bank.neg_()
    monkeypatch.setattr(model, "has_matrix_units", lambda device: True)
    with torch.inference_mode():
        before, expected = scored(images), other(images)
        change(scored, other)
        found, copied = scored(images), copy.deepcopy(scored)(images)
    assert not torch.equal(before.image, expected.image)
    assert torch.equal(found.image, expected.image)
    assert torch.equal(copied.image, expected.image)


def test_what_is_kept_belongs_to_no_weights(batches: Batches) -> None:
    scored = fitted(batches)
    names = set(scored.weights())
    scored._splitters[0].split(scored.bank)
    assert set(scored.weights()) == names
