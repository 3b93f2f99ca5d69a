"""Ctrl-C and SIGTERM: the command cleans up and ends, and is ended soon after if it does not.

Python runs a signal's handler in the main thread alone, between two steps of the interpreter: not while that waits in
a long call of a library. What the handler raises may be lost in a finalizer, or leave something locked for which the
exit then waits. Hence two parts: a handler that raises ``KeyboardInterrupt``, so that the command cleans up; and a
thread that the system itself wakes, which ends the process when the time for that is over.
"""

import _thread
import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any

CLEANING = 1.5
"""Seconds that the command has to clean up once it knows that it is to end."""

CALLING = 4.5
"""Seconds that a call into torch or OpenVINO has to return, so that the command learns of it."""

SAME = 0.3
"""Seconds within which a second signal is the first one again: a wrapper may pass on what the terminal sent as well."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Told:
    """Which signal told the process to end, and when the main thread noticed, or no longer needed to.

    What is raised in a finalizer is lost; then the main thread is to be told again.
    """

    number = 0
    noticed: float | None = None
    lost = False


_told = _Told()


def end_when_told() -> None:
    """Have SIGINT and SIGTERM end this process, with the exit codes 130 and 143.

    Only for a process that is ours; a signal that its parent has it ignore stays ignored.
    """
    wanted = [number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, _notice)]
    if not wanted:
        return
    read, waker = _channel()
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), name="adcli-end", daemon=True).start()
    before = {number: signal.signal(number, _notice) for number in wanted}
    sys.unraisablehook = partial(_take_note_of_lost, sys.unraisablehook)
    if sys.platform != "win32":
        _leave_forked_alone(before)


def _leave_forked_alone(before: Mapping[signal.Signals, Any]) -> None:
    """Have a process that a library forks handle signals as this one did before, or it would wake this one's thread."""
    masks = threading.local()

    def hold() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, before)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def let_go() -> None:
        signal.set_wakeup_fd(-1)
        for number, action in before.items():
            signal.signal(number, action)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=let_go)


def told_code() -> int:
    """Return the exit code of a process that was told to end; 0 if it was not."""
    return 128 + _told.number if _told.number else 0


def stop_noticing() -> None:
    """Have nothing raised from now on: the process is about to end anyway."""
    if _told.noticed is None:
        _told.noticed = time.monotonic()


def _notice(number: int, frame: FrameType | None) -> None:
    """Have the main thread clean up, once."""
    if _told.noticed is None:
        _told.number, _told.noticed = number, time.monotonic()
        raise KeyboardInterrupt


def _take_note_of_lost(otherwise: Callable[["sys.UnraisableHookArgs"], object], what: "sys.UnraisableHookArgs") -> None:
    if _told.number and what.exc_type is KeyboardInterrupt:
        _told.lost = True
    else:
        otherwise(what)


def _channel() -> tuple[Callable[[float | None], bytes], int]:
    """Return what waits for signals, seconds or for ever, and returns their numbers; and where these are written."""
    if sys.platform == "win32":
        return _socket_channel()
    woken, waker = os.pipe()
    os.set_blocking(waker, False)

    def read(patience: float | None) -> bytes:
        return os.read(woken, 64) if select.select([woken], [], [], patience)[0] else b""

    return read, waker


def _socket_channel() -> tuple[Callable[[float | None], bytes], int]:
    """Return the same for Windows, which writes to nothing else and waits for nothing else."""
    import socket

    woken, waker = socket.socketpair()
    waker.setblocking(False)

    def read(patience: float | None) -> bytes:
        woken.settimeout(patience)
        try:
            return woken.recv(64)
        except TimeoutError:
            return b""

    return read, waker.detach()


def _watch(read: Callable[[float | None], bytes]) -> None:
    """Wait for a signal of ours, and end the process when it has had its time, or is told once more."""
    number = 0
    while not number:
        # Whoever handles a signal itself is not ended for it, but may hand it on.
        number = next((each for each in read(None) if signal.getsignal(each) is _notice), _told.number)
    told, own = time.monotonic(), 0
    while (now := time.monotonic()) < _last_moment(told):
        own -= sum(each in _SIGNALS for each in read(0.05))
        if own < 0 and now > told + SAME:
            break
        own = max(own, 0)
        if _told.lost:
            _told.lost, _told.noticed = False, None
            own += 1
            _tell_again(number)
    if os.environ.get("ADCLI_TRACE", "0") not in ("", "0"):
        faulthandler.dump_traceback()
    os._exit(128 + number)


def _tell_again(number: int) -> None:
    """Send the main thread a signal that it had before."""
    ident = threading.main_thread().ident
    if sys.platform == "win32" or ident is None:
        _thread.interrupt_main(signal.Signals(number))
    else:
        # Unlike the other, this also ends a wait of that thread.
        signal.pthread_kill(ident, number)


def _last_moment(told: float) -> float:
    """Return when a process that was told to end is ended."""
    latest = told + CALLING
    return latest if _told.noticed is None else min(latest, _told.noticed + CLEANING)
