"""Checkpoints of a training: everything that the next epoch depends on, in one file."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from adcli import _system
from adcli._artefacts import Artefact
from adcli._artefacts.declaring import Count
from adcli._artefacts.parsing import parse_json
from adcli._files import named_in_text, storing
from adcli.errors import RunError, one_line
from adcli.nn import distributed
from adcli.nn.batches import Session

CHECKPOINT_SECONDS = 60.0
"""Checkpoints are written at ends of epochs, at most this often."""

CHECKPOINT_FILE = "training.safetensors"


class _Rest(TypedDict):
    """What a checkpoint holds beside tensors."""

    epoch: Count
    groups: list[dict[str, Any]]
    plain: dict[str, dict[str, Any]]
    scheduler: dict[str, Any] | None
    scaler: dict[str, Any]
    lowest: float | None
    waited: Count


class TrainingState:
    """What changes while training.

    Attributes:
        scaler: scales the loss in float16, and does nothing in other precisions.
        checkpoint: the file to save to, or None.
        saved: when that was done last, by the monotonic clock.
        lowest: the best value of the validation so far.
        best: a copy of the module at that time.
        waited: epochs since then.
    """

    def __init__(
        self, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, session: Session
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = torch.amp.GradScaler(session.device.type, enabled=session.precision == torch.float16)
        self.checkpoint = session.checkpoints / CHECKPOINT_FILE if session.checkpoints else None
        self.saved = time.monotonic()
        self.lowest = math.inf
        self.best: dict[str, Tensor] = {}
        self.waited = 0


def save_if_due(state: TrainingState, epoch: int) -> None:
    """Save a checkpoint if the last one is old enough; of several processes, only the first one saves."""
    if state.checkpoint is None or distributed.rank() != 0 or time.monotonic() - state.saved < CHECKPOINT_SECONDS:
        return
    save_checkpoint(state.checkpoint, state, epoch)
    state.saved = time.monotonic()


def save_checkpoint(path: Path, state: TrainingState, epoch: int) -> None:
    """Write all that the next epoch depends on into one file: tensors, and the rest as JSON in its metadata."""
    tensors = {f"module.{name}": tensor for name, tensor in state.module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    optimizer = state.optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, slots in optimizer["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    rest = {
        "epoch": epoch,
        "groups": optimizer["param_groups"],
        "plain": plain,
        "scheduler": state.scheduler.state_dict() if state.scheduler is not None else None,
        "scaler": state.scaler.state_dict(),
        "lowest": state.lowest if state.best else None,
        "waited": state.waited,
    }
    _write(path, tensors, rest)


def _write(path: Path, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    # safetensors wants contiguous tensors that share no memory.
    separate = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    temporary = path.with_name(f".{path.name}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(separate, temporary, {"state": json.dumps(rest)})
        except SafetensorError as error:
            raise OSError(one_line(error)) from None
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        _system.replace(temporary, path)


def _restore_layout(optimizer: Optimizer) -> None:
    """Give an optimizer's moments the memory layout of their parameters, which a checkpoint does not keep.

    Fused optimizers go through memory in its order, and would pair a channels-last parameter with the wrong moments.
    """
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                slots[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_checkpoint(path: Path, state: TrainingState) -> int:
    """Restore what :func:`save_checkpoint` wrote; returns the number of epochs done.

    Raises:
        RunError: the file is damaged, or belongs to another training.
    """
    file = Artefact(path, RunError, "train again")
    try:
        with named_in_text(path) as named:
            rest = file.check(parse_json(_read_rest(named), finite=False), _Rest)
            tensors = load_file(named)
        _restore(state, rest, tensors)
    except RunError:
        raise
    except Exception as error:
        # What torch raises for values that do not fit is of many kinds.
        raise file.wrong(f"cannot continue from this checkpoint ({one_line(error)})") from None
    return rest["epoch"]


def _read_rest(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {})["state"])


def _restore(state: TrainingState, rest: _Rest, tensors: dict[str, Tensor]) -> None:
    """Give a training what a checkpoint holds; raises whatever torch does if that is of another training."""
    slots: dict[int, dict[str, Any]] = {int(index): values for index, values in rest["plain"].items()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".", 2)
            slots.setdefault(int(index), {})[slot] = tensor
    scheduler = state.scheduler.state_dict() if state.scheduler is not None else None
    groups = state.optimizer.state_dict()["param_groups"]
    if not (
        _are_alike(rest["groups"], groups, flags=True)
        and _are_alike([rest["scheduler"], rest["scaler"]], [scheduler, state.scaler.state_dict()])
    ):
        raise ValueError("it is of another optimizer or schedule")
    state.module.load_state_dict(_below("module.", tensors))
    state.optimizer.load_state_dict({"state": slots, "param_groups": rest["groups"]})
    _restore_layout(state.optimizer)
    if state.scheduler is not None:
        state.scheduler.load_state_dict(rest["scheduler"] or {})
    state.scaler.load_state_dict(rest["scaler"])
    if rest["lowest"] is not None:
        state.lowest, state.best, state.waited = rest["lowest"], _below("best.", tensors), rest["waited"]
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _are_alike(held: Any, fresh: Any, *, flags: bool = False) -> bool:
    """Tell whether values that were stored could be a later state of others: numbers are numbers, and so on.

    Args:
        held: as JSON has them.
        fresh: of a training that begins.
        flags: what is true or false must be the same.
    """
    if isinstance(fresh, Mapping):
        same = isinstance(held, dict) and held.keys() == set(map(str, fresh))
        return same and all(_are_alike(held[str(name)], value, flags=flags) for name, value in fresh.items())
    if isinstance(fresh, (list, tuple)):
        same = isinstance(held, list) and len(held) == len(fresh)
        return same and all(_are_alike(*pair, flags=flags) for pair in zip(held, fresh, strict=True))
    if isinstance(fresh, str):
        return bool(held == fresh)
    if isinstance(fresh, bool):
        return held is fresh if flags else isinstance(held, bool)
    if isinstance(fresh, (int, float)):
        return isinstance(held, (int, float)) and not isinstance(held, bool)
    return not isinstance(held, dict)
