"""One training over several processes, which torchrun starts; in a single process everything here does nothing.

Each process holds the whole model and a part of the images: :meth:`adcli.nn.batches.Batches.sharded`. What a fit
finds in its part it joins with :func:`reduce_sum` or :func:`gather`, after which every process holds the same.

An error in one process ends all of them: it is told through the store at which the processes met, the connections
close, and whoever waits for the process that is gone raises :class:`PeerError`. One process says what happened, the
first if it can.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from adcli.errors import AdcliError, TrainingError, needing_torch, one_line

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


TIMEOUT = timedelta(minutes=10)
"""How long a process waits for one that is silent, but whose connection stands; one that ends is noticed at once."""

PATIENCE = 10.0
"""Seconds that a failed process gives the first one to end what it does."""

POLL = 0.1
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_FAILED, _SAID, _FIRST, _LEFT = "adcli/failed", "adcli/said", "adcli/first", "adcli/left"


class PeerError(AdcliError):
    """Another process of a distributed training failed; ``said`` where that is printed elsewhere."""

    def __init__(self, message: str, exit_code: int = TrainingError.exit_code, *, said: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]
        self.said = said


@dataclass
class _Group:
    """The processes that this one has joined, and the store they share."""

    rank: int
    size: int
    store: "Store"
    results: int = 0

    def told(self) -> dict[str, Any] | None:
        """Return what a failed process told; None where none did, or its store is gone with it."""
        try:
            return json.loads(self.store.get(_FAILED)) if self.store.check([_FAILED]) else None
        except RuntimeError:
            return None

    def tell(self, error: BaseException) -> None:
        interrupted = isinstance(error, click.Abort) or not isinstance(error, Exception)
        message = error.format_message() if isinstance(error, click.ClickException) else f"{type(error).__name__}"
        code = error.exit_code if isinstance(error, click.ClickException) else TrainingError.exit_code
        told = {"rank": self.rank, "message": message, "exit_code": code, "interrupted": interrupted}
        with contextlib.suppress(RuntimeError):
            self.store.compare_set(_FAILED, "", json.dumps(told))

    def lost(self, reason: BaseException | None, patience: float = 2.0) -> BaseException:
        """Return what to raise where another process is gone: what it told, or that it told nothing."""
        until = time.monotonic() + patience
        while (told := self.told()) is None and time.monotonic() < until:
            time.sleep(POLL)
        if told is None:
            words = one_line(str(reason)[-120:])
            return PeerError(
                f"another process ended without a word, or did not answer for {TIMEOUT} (killed? out of memory?): "
                f"{words}; see its machine's log, and start again."
            )
        if told["interrupted"]:
            return KeyboardInterrupt()
        return PeerError(f"process {told['rank']} of {self.size}: {told['message']}", told["exit_code"])

    def is_to_say(self) -> bool:
        """Claim to be the process that prints the error; the first one does, unless it does not answer."""
        try:
            if self.rank:
                _wait_until(lambda: self.store.check([_FIRST]))
            return self.store.add(_SAID, 1) == 1
        except RuntimeError:
            return True


_group: _Group | None = None


def is_joined() -> bool:
    """Tell whether this process is one of several that have met."""
    return _group is not None


def rank() -> int:
    """Return this process's number, from 0; 0 in a single process."""
    return _group.rank if _group else 0


def world_size() -> int:
    """Return the number of processes, on all machines."""
    return _group.size if _group else 1


def local_rank() -> int:
    """Return this process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _group else 0


def started() -> bool:
    """Tell whether torchrun started this process as one of several."""
    return all(name in os.environ for name in _VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started, for as long as the context lasts; an error in one ends it in all.

    Does nothing in a single process, and where the processes are joined already.

    Raises:
        TrainingError: the processes do not find each other.
        PeerError: another process failed; or this one, and another says so.
    """
    if _group is not None or not started():
        yield
        return
    group = _join()
    before = _on_terminate(_stopped)
    try:
        yield
    except BaseException as error:
        # The process is about to end by itself; the launcher, which sees another end first, would cut it short.
        _on_terminate(signal.SIG_IGN)
        raised = _end(group, error)
        if raised is not error:
            raise raised from error
        raise
    else:
        _part(group)
        _on_terminate(before)


def _join() -> _Group:
    global _group
    with needing_torch():
        import torch
        from torch import distributed as dist
        from torch.distributed.rendezvous import rendezvous
    try:
        store, number, size = next(iter(rendezvous("env://", timeout=TIMEOUT)))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = one_line(str(error))
        raise TrainingError(f"torchrun: the processes did not find each other ({reason}).") from None
    _group = _Group(number, size, store)
    return _group


def _leave() -> None:
    global _group
    from torch import distributed as dist

    _group = None
    if dist.is_initialized():
        dist.destroy_process_group()


def _part(group: _Group) -> None:
    """Leave after a success; the first process may hold the store, and leaves last."""
    with contextlib.suppress(RuntimeError):
        left = group.store.add(_LEFT, 1)
        if group.rank == 0:
            _wait_until(lambda: left == group.size or group.store.add(_LEFT, 0) == group.size)
    _leave()


def _end(group: _Group, error: BaseException) -> BaseException:
    """Tell the others of an error, leave them, and return what to raise."""
    if not isinstance(error, PeerError):
        group.tell(error)
    # Closes the connections, which wakes those that wait for this process.
    _leave()
    says = group.is_to_say()
    if group.rank == 0:
        with contextlib.suppress(RuntimeError):
            group.store.set(_FIRST, "left")
    if says or not isinstance(error, click.ClickException):
        return error
    return PeerError(error.format_message(), error.exit_code, said=True)


def _wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < until:
        time.sleep(POLL)


def _on_terminate(action: Any) -> Any:
    """Set what a request to end does, and return what it did; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        return signal.SIG_DFL
    return signal.signal(signal.SIGTERM, action)


def _stopped(number: int, frame: FrameType | None) -> None:
    """The launcher ends the others when a process has ended: say why, or stop as for Ctrl-C."""
    if _group is not None and _group.told() is not None:
        raise _group.lost(None)
    raise KeyboardInterrupt


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turn a broken connection into what the process at its other end told."""
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError:
        raise
    except RuntimeError as error:
        assert _group is not None
        raise _group.lost(error) from None


def on_first(work: Callable[[], Any]) -> Any:
    """Do something in the first process alone, however long it takes, and return its result, a plain value, in all."""
    if _group is None:
        return work()
    _group.results += 1
    key = f"adcli/result/{_group.results}"
    if _group.rank == 0:
        result = work()
        with answered():
            _group.store.set(key, json.dumps(result, default=str))
        return result
    with answered():
        while not _group.store.check([key]):
            if _group.store.check([_FAILED]):
                raise _group.lost(None)
            time.sleep(POLL)
        return json.loads(_group.store.get(key))
