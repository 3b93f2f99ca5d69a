"""What is loaded in threads: in order, whatever fails, wherever the caller stops; and nobody waits for ever."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from adcli.data import ahead
from adcli.data.ahead import load_all, read_ahead
from adcli.errors import LackOfMemoryError

THREADS = pytest.mark.parametrize("workers", [0, 1, 3])

Stop = type("Stop", (BaseException,), {})
"""What a thread may be ended with and nobody expects."""


def size(_: int) -> int:
    return 1


@THREADS
@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.parametrize("where", [0, 5, 39])
def test_what_loading_raises_comes_in_its_place(error: type[BaseException], where: int, workers: int) -> None:
    def load(item: int) -> int:
        if item == where:
            raise error("here")
        return -item

    came: list[tuple[int, int]] = []
    with pytest.raises(error, match="here"):
        came.extend(read_ahead(range(40), load, size, workers))
    assert came == [(item, -item) for item in range(where)]


@THREADS
@pytest.mark.parametrize("error", [ValueError, MemoryError])
@pytest.mark.parametrize("where", [0, 5, 39, 40])
def test_what_taking_an_item_raises_comes_after_all_items_before(
    error: type[Exception], where: int, workers: int
) -> None:
    def items() -> Iterator[int]:
        yield from range(where)
        raise error("here")

    came: list[tuple[int, int]] = []
    with pytest.raises(error, match="here"):
        came.extend(read_ahead(items(), lambda item: -item, size, workers))
    assert came == [(item, -item) for item in range(where)]


@THREADS
def test_items_that_are_known_are_not_loaded(workers: int) -> None:
    loaded: list[int] = []

    def load(item: int) -> int:
        loaded.append(item)
        return item

    known: Callable[[int], int | None] = lambda item: 100 + item if item % 2 else None  # noqa: E731
    came = [result for _, result in read_ahead(range(6), load, size, max(workers, 1), known)]
    assert came == [0, 101, 2, 103, 4, 105]
    assert sorted(loaded) == [0, 2, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_end_when_the_caller_stops_anywhere(workers: int) -> None:
    before = threading.active_count()
    for taken in (0, 1, 30):
        stream = read_ahead(range(100), lambda item: item, size, workers)
        for _ in range(taken):
            next(stream)
        stream.close()
    until = time.monotonic() + 10
    while ahead._thread._count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert ahead._thread._count() <= before


def test_results_larger_than_all_room_are_still_loaded() -> None:
    huge = read_ahead(range(50), lambda item: item, lambda _: 2 * ahead.AHEAD_BYTES, workers=2)
    assert [result for _, result in huge] == list(range(50))


def test_without_memory_for_a_thread_the_caller_learns_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ahead._thread, "start_new_thread", refuse)
    with pytest.raises(MemoryError):
        list(load_all(range(3), lambda item: item, 2))


def test_a_thread_without_memory_to_begin_with_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has taken its load, and fails before it can begin."""

    def fail_in_threads(self: object, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError

    monkeypatch.setattr(ahead._Load, "carry_out", fail_in_threads)
    readers = ahead._Readers(lambda item: item, size, 1)
    load = readers.submit(1)
    while readers._submitted:
        time.sleep(0.01)
    with pytest.raises(MemoryError):
        readers.wait_for(load)


def test_no_exit_waits_for_a_thread_that_reads() -> None:
    """The file is on a network that is gone: reading it takes for ever."""
    code = (
        "import time; from adcli.data.ahead import read_ahead\n"
        "stream = read_ahead(range(9), lambda item: item and time.sleep(60), lambda _: 0, workers=2)\n"
        "next(stream); print('read', flush=True); raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (3, "read\n", "")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("fits", [1, 2, 5])
def test_what_lacks_memory_in_a_thread_is_loaded_in_its_turn(fits: int, workers: int) -> None:
    """Memory has room for some results, and the caller lets each go before it takes the next."""
    held: set[int] = set()
    counting = threading.Lock()

    def load(item: int) -> int:
        with counting:
            if len(held) >= fits:
                raise LackOfMemoryError
            held.add(item)
        return item

    for expected, (item, _) in enumerate(read_ahead(range(30), load, lambda _: ahead.AHEAD_BYTES, workers)):
        assert item == expected
        held.discard(item)


@THREADS
def test_what_lacks_memory_in_its_turn_ends_it(workers: int) -> None:
    def load(item: int) -> int:
        if item == 7:
            raise LackOfMemoryError("item 7: too large")
        return item

    came: list[tuple[int, int]] = []
    with pytest.raises(LackOfMemoryError, match="item 7: too large"):
        came.extend(read_ahead(range(30), load, size, workers))
    assert len(came) == 7
