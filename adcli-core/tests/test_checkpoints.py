"""Checkpoints that somebody changed: what does not fit the training ends in one line, never in another error."""

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import nn

from adcli.errors import RunError
from adcli.nn._checkpoint import TrainingState, load_checkpoint, save_checkpoint
from adcli.nn.batches import Session
from adcli.progress import Silent

WRONG = ("x", "", None, True, [], [1, "x"], {}, {"x": 1}, -1, 2**62, 1.5, "nan", "a\0b", [[[[]]]])


def begin() -> TrainingState:
    """Return a training as it begins."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    return TrainingState(module, optimizer, scheduler, Session(Silent(), torch.device("cpu"), torch.float32, None))


def step(state: TrainingState) -> float:
    """Do a step, as a training that goes on would."""
    loss = state.module(torch.ones(4, 3)).square().mean()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    assert state.scheduler is not None
    state.scheduler.step()
    return float(loss.detach())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint after two steps."""
    state = begin()
    step(state)
    step(state)
    state.lowest, state.best = 0.5, {name: value.clone() for name, value in state.module.state_dict().items()}
    save_checkpoint(tmp_path / "training.safetensors", state, 2)
    return tmp_path / "training.safetensors"


def read(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["state"]))


def paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from paths(value, (*path, key))


def test_a_checkpoint_goes_on_where_it_was_saved(saved: Path) -> None:
    state = begin()
    assert load_checkpoint(saved, state) == 2
    assert state.lowest == 0.5
    whole = begin()
    step(whole)
    step(whole)
    assert step(state) == step(whole)


def test_another_value_in_a_checkpoint_is_refused_or_trained_with(saved: Path) -> None:
    content, tensors = read(saved), load_file(saved)
    for path in paths(content):
        for value in (*WRONG, ...):
            changed = copy.deepcopy(content)
            place = changed
            for part in path[:-1]:
                place = place[part]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = copy.deepcopy(value)
            save_file(tensors, saved, {"state": json.dumps(changed)})
            state = begin()
            try:
                load_checkpoint(saved, state)
            except RunError as error:
                message = error.format_message()
                assert message.startswith(f"{saved}: ")
                assert message.endswith("train again.")
                assert message.isprintable()
            else:
                # Of the right kind, it may be too large to compute with.
                with contextlib.suppress(ArithmeticError, RuntimeError, ValueError):
                    step(state)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", "[" * 100_000, '{"epoch": NaN}', '{"epoch": ' + "9" * 5000 + "}", '{"a": 1, "a": 2}']
)
def test_what_is_no_state_at_all_is_refused(saved: Path, text: str) -> None:
    save_file(load_file(saved), saved, {"state": text})
    with pytest.raises(RunError, match=r"training\.safetensors: .*train again"):
        load_checkpoint(saved, begin())


def test_a_checkpoint_without_a_state_or_tensors_is_refused(saved: Path) -> None:
    state, tensors = {"state": json.dumps(read(saved))}, load_file(saved)
    save_file(tensors, saved)
    with pytest.raises(RunError, match=r"training\.safetensors"):
        load_checkpoint(saved, begin())
    for name in ("module.weight", "random.cpu"):
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        for changed in (rest, {**rest, name: torch.zeros(7, 7)}, {**rest, f"{name}.more": torch.zeros(1)}):
            save_file(changed, saved, state)
            with pytest.raises(RunError, match=r"training\.safetensors"):
                load_checkpoint(saved, begin())


def test_numbers_beyond_all_bounds_of_a_schedule_go_on(saved: Path) -> None:
    state = begin()
    assert state.scheduler is not None
    state.scheduler.best = float("inf")
    save_checkpoint(saved, state, 1)
    again = begin()
    assert again.scheduler is not None
    again.scheduler.best = float("inf")
    assert load_checkpoint(saved, again) == 1
