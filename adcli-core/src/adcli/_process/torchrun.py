"""How the processes of one training, which torchrun starts, meet and part; in a single process nothing happens here.

An error in one process ends all of them, and is printed once:

1. The process that fails reports its error in the store through which the processes met (:meth:`_Group.report`).
2. It closes its connections, so that whoever waits for it wakes with a broken connection.
3. Those read the report, and raise it as a :class:`PeerError` (:meth:`_Group.explain`).
4. Each process, as it ends, tries to claim the right to print (:meth:`_Group.claim_to_print`). The first process goes
   first, since a user reads its output; the others wait a while for it, in case that it is the one that was killed.
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
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from adcli.errors import AdcliError, TrainingError, needing_torch, one_line

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another that does not answer; a process that ends is noticed at once."""

PATIENCE = 10.0
"""Seconds that a failed process gives the first one to end what it does."""

POLL = 0.1
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Keys of the store: the report of what failed; who prints; the first process has left; how many have left.
_REPORT, _PRINTER, _FIRST_LEFT, _LEFT = "adcli/report", "adcli/printer", "adcli/first-left", "adcli/left"


class PeerError(AdcliError):
    """Another process of a distributed training failed; ``printed`` if another process prints the line."""

    def __init__(self, message: str, exit_code: int = TrainingError.exit_code, *, printed: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]
        self.printed = printed


@dataclass
class _Group:
    """The processes that this one has joined, and the store they share."""

    rank: int
    size: int
    store: "Store"
    results: int = 0

    def report(self, error: BaseException) -> None:
        """Put an error into the store, unless another process has reported one before."""
        interrupted = isinstance(error, click.Abort) or not isinstance(error, Exception)
        message = error.format_message() if isinstance(error, click.ClickException) else f"{type(error).__name__}"
        code = error.exit_code if isinstance(error, click.ClickException) else TrainingError.exit_code
        report = {"rank": self.rank, "message": message, "exit_code": code, "interrupted": interrupted}
        # The store lies in the first process, and may have ended with it.
        with contextlib.suppress(RuntimeError):
            self.store.compare_set(_REPORT, "", json.dumps(report))

    def read_report(self) -> dict[str, Any] | None:
        """Return what a process that failed has reported; None if none has, or if the store is gone."""
        try:
            return json.loads(self.store.get(_REPORT)) if self.store.check([_REPORT]) else None
        except RuntimeError:
            return None

    def explain(self, broken: BaseException | None, patience: float = 2.0) -> BaseException:
        """Return what to raise when another process is gone: its report, or that there is none.

        Args:
            broken: what the connection raised.
            patience: seconds to wait for a report, as the connection may break before it arrives.
        """
        until = time.monotonic() + patience
        while (report := self.read_report()) is None and time.monotonic() < until:
            time.sleep(POLL)
        if report is None:
            reason = one_line(str(broken)[-120:])
            return PeerError(
                f"another process ended without a word, or did not answer for {TIMEOUT} (killed? out of memory?): "
                f"{reason}; see its machine's log, and start again."
            )
        if report["interrupted"]:
            return KeyboardInterrupt()
        return PeerError(f"process {report['rank']} of {self.size}: {report['message']}", report["exit_code"])

    def claim_to_print(self) -> bool:
        """Claim to be the process that prints the error; the first process wins, unless it does not answer."""
        try:
            if self.rank:
                _wait_until(lambda: self.store.check([_FIRST_LEFT]))
            return self.store.add(_PRINTER, 1) == 1
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


def is_started_by_torchrun() -> bool:
    """Tell whether torchrun started this process as one of several."""
    return all(name in os.environ for name in _VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started, for as long as the context lasts; an error in one ends it in all.

    Does nothing in a single process, or if the processes have joined already.

    Raises:
        TrainingError: the processes do not find each other.
        PeerError: another process failed; or this one did, and another prints its error.
    """
    if _group is not None or not is_started_by_torchrun():
        yield
        return
    group = _join()
    before = signal.getsignal(signal.SIGTERM)
    _handle_sigterm(partial(_raise_when_terminated, before))
    try:
        yield
    except BaseException as error:
        # The launcher terminates all processes once one has ended; this one is about to end by itself.
        _handle_sigterm(signal.SIG_IGN)
        to_raise = _leave_after_error(group, error)
        if to_raise is not error:
            raise to_raise from error
        raise
    else:
        _leave_after_success(group)
        _handle_sigterm(before)


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
        raise TrainingError(f"torchrun: the processes did not find each other ({one_line(error)[:200]}).") from None
    _group = _Group(number, size, store)
    return _group


def _leave() -> None:
    global _group
    from torch import distributed as dist

    _group = None
    if dist.is_initialized():
        dist.destroy_process_group()


def _leave_after_success(group: _Group) -> None:
    """Leave; the first process, which holds the store, leaves last."""
    with contextlib.suppress(RuntimeError):
        left = group.store.add(_LEFT, 1)
        if group.rank == 0:
            _wait_until(lambda: left == group.size or group.store.add(_LEFT, 0) == group.size)
    _leave()


def _leave_after_error(group: _Group, error: BaseException) -> BaseException:
    """Report an error to the others, leave them, and return what to raise."""
    if not isinstance(error, PeerError):
        group.report(error)
    # Closes the connections, which wakes those that wait for this process.
    _leave()
    # Of being interrupted nothing is printed, so that nobody need wait for the first process.
    prints = not isinstance(error, click.ClickException) or group.claim_to_print()
    if group.rank == 0:
        with contextlib.suppress(RuntimeError):
            group.store.set(_FIRST_LEFT, "yes")
    if prints or not isinstance(error, click.ClickException):
        return error
    return PeerError(error.format_message(), error.exit_code, printed=True)


def _wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < until:
        time.sleep(POLL)


def _handle_sigterm(action: Any) -> None:
    """Set what SIGTERM does; only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, action)


def _raise_when_terminated(before: Any, number: int, frame: FrameType | None) -> None:
    """Raise another process's error if that is why the launcher terminates this one; else stop as it did before."""
    report = None if _group is None else _group.read_report()
    if _group is not None and report is not None and not report["interrupted"]:
        raise _group.explain(None)
    if callable(before):
        _handle_sigterm(before)
        signal.raise_signal(number)
    raise KeyboardInterrupt


@contextlib.contextmanager
def explain_broken_connections() -> Iterator[None]:
    """Raise, for a broken connection, what the process at its other end has reported."""
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError:
        raise
    except RuntimeError as error:
        assert _group is not None
        raise _group.explain(error) from None


def on_first(work: Callable[[], Any]) -> Any:
    """Do something in the first process alone, however long it takes, and return its result in all of them.

    Args:
        work: returns something that JSON can hold; paths become strings.
    """
    if _group is None:
        return work()
    _group.results += 1
    key = f"adcli/result/{_group.results}"
    if _group.rank == 0:
        result = work()
        with explain_broken_connections():
            _group.store.set(key, json.dumps(result, default=str))
        return result
    with explain_broken_connections():
        while not _group.store.check([key]):
            if _group.store.check([_REPORT]):
                raise _group.explain(None)
            time.sleep(POLL)
        return json.loads(_group.store.get(key))
