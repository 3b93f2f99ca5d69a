"""Loading in threads, ahead of the use, within bounds; whatever fails in a thread reaches the caller, in order.

An interrupted caller may stop anywhere. So no thread waits for anything but its next turn, nothing is locked for longer
than it takes to count, and no exit of the interpreter waits for these threads: they are none of ``threading``'s, whose
``start`` would also wait for ever for a thread that finds no memory to begin with.
"""

import _thread
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

from adcli.errors import LackOfMemoryError

AHEAD = 32
"""What is loaded before its use, at most."""

AHEAD_BYTES = 64 << 20
"""What that may take in memory; a thread that loads something larger goes beyond by that."""

ALIVE_SECONDS = 0.5
"""How often the caller makes sure that the threads it waits for have not ended."""

T = TypeVar("T")
Result = TypeVar("Result")


def load_all(items: Iterable[T], load: Callable[[T], Result], workers: int) -> Iterator[Result]:
    """Yield what is loaded of each item, in order, in at least one thread; results are small."""
    return (result for _, result in read_ahead(items, load, lambda _: 0, max(workers, 1)))


def read_ahead(
    items: Iterable[T],
    load: Callable[[T], Result],
    size: Callable[[Result], int],
    workers: int,
    known: Callable[[T], Result | None] = lambda _: None,
) -> Iterator[tuple[T, Result]]:
    """Yield items and what is loaded of them, in order, loaded in threads before it is needed.

    At most :data:`AHEAD` results wait, and no thread begins another while they take :data:`AHEAD_BYTES`. What loading
    an item raises is raised in its place, and what taking an item raises after all items before it. What lacks memory
    in a thread is loaded once more in its turn.

    Args:
        items: taken from one by one, as results are.
        load: called in a thread.
        size: bytes that a result takes.
        workers: threads; with 0, each result is loaded when it is asked for.
        known: returns a result that need not be loaded; a thread would take longer than to look it up.
    """
    if workers == 0:
        yield from ((item, load(item)) for item in items)
        return
    remaining = Remaining(items)
    waiting: deque[tuple[T, Result | _Load[T, Result]]] = deque()
    readers = _Readers(load, size, workers)
    try:
        while True:
            for item in islice(remaining, AHEAD - len(waiting)):
                found = known(item)
                waiting.append((item, readers.submit(item) if found is None else found))
            if not waiting:
                break
            item, result = waiting.popleft()
            yield item, readers.wait_for(result) if isinstance(result, _Load) else result
            del result
    finally:
        readers.close()
    remaining.raise_error()


class Remaining(Generic[T]):
    """Items that are left; an error in taking one ends them, and is kept for when all before it are used."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._error is not None:
            raise StopIteration
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            self._error = error
            raise StopIteration from None

    def raise_error(self) -> None:
        """Raise the error, if there was one."""
        if self._error is not None:
            raise self._error


class _Load(Generic[T, Result]):
    """One item to load, and then its result or what was raised instead."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.bytes = 0
        # Released when it is loaded; unlike an event, whoever waits for it can be interrupted without any harm.
        self.loading = _thread.allocate_lock()
        self.loading.acquire()

    def carry_out(self, load: Callable[[T], Result], size: Callable[[Result], int]) -> None:
        """Load the item; never raises."""
        self.error = None
        try:
            self.result = load(self.item)
            self.bytes = size(self.result)
        except BaseException as error:  # The caller gets it, whatever it is: nobody else would learn of it.
            self.error = error
        finally:
            self.loading.release()


class _Readers(Generic[T, Result]):
    """Threads that load what was submitted, in order, while there is room for it."""

    def __init__(self, load: Callable[[T], Result], size: Callable[[Result], int], count: int) -> None:
        self._load, self._size, self._count = load, size, count
        self._started = 0
        self._submitted: deque[_Load[T, Result]] = deque()
        self._held = 0
        self._counting = threading.Lock()
        # One for each change that a thread may have waited for; False has one end.
        self._turns: SimpleQueue[bool] = SimpleQueue()
        self._broken: BaseException | None = None
        self._begun: deque[_Load[T, Result]] = deque()

    def submit(self, item: T) -> _Load[T, Result]:
        """Have an item loaded."""
        load: _Load[T, Result] = _Load(item)
        self._submitted.append(load)
        if self._started < self._count:
            self._start()
        self._give_turn()
        return load

    def wait_for(self, load: _Load[T, Result]) -> Result:
        """Return a result, which no longer takes room then; raise what loading it raised."""
        if self._take(load):
            # No thread has begun it, for lack of room for example.
            load.carry_out(self._load, self._size)
            self._count_held(load.bytes)
        while not load.loading.acquire(timeout=ALIVE_SECONDS):
            if self._broken is not None:
                raise self._broken
        if isinstance(load.error, LackOfMemoryError):
            self._load_again(load)
        with self._counting:
            self._begun.remove(load)
        self._count_held(-load.bytes)
        self._give_turn()
        if load.error is not None:
            raise load.error
        return cast(Result, load.result)

    def _load_again(self, load: _Load[T, Result]) -> None:
        """Load what lacked memory: what came before it is used by now, and what comes after it can wait."""
        counted = load.bytes
        load.carry_out(self._load, self._size)
        while isinstance(load.error, LackOfMemoryError) and self._give_back():
            load.loading.acquire()
            load.carry_out(self._load, self._size)
        self._count_held(load.bytes - counted)

    def _give_back(self) -> bool:
        """Let what is loaded go, to be loaded again in its turn; return whether there was anything."""
        with self._counting:
            loaded = [load for load in self._begun if load.result is not None and not load.loading.locked()]
        for load in loaded:
            load.result, load.error = None, LackOfMemoryError()
        return bool(loaded)

    def close(self) -> None:
        """Have the threads end once they have loaded what they have begun."""
        self._submitted.clear()
        for _ in range(self._started):
            self._turns.put(False)

    def _start(self) -> None:
        """Start one more thread; raises :class:`MemoryError` if there is no memory for one."""
        try:
            _thread.start_new_thread(self._serve, ())
        except RuntimeError as error:
            raise MemoryError(str(error)) from None
        self._started += 1

    def _give_turn(self) -> None:
        """Have a thread look whether it can load something; as many turns as threads are enough."""
        if self._turns.qsize() < self._count:
            self._turns.put(True)

    def _serve(self) -> None:
        try:
            while self._turns.get():
                while (load := self._take()) is not None:
                    load.carry_out(self._load, self._size)
                    self._count_held(load.bytes)
        except BaseException as error:  # No memory even to begin; the caller would wait for ever.
            self._broken = error

    def _take(self, wanted: _Load[T, Result] | None = None) -> _Load[T, Result] | None:
        """Take what is to be loaded next, if there is room for it; or what the caller wants, if it is that."""
        with self._counting:
            if not self._submitted:
                return None
            # What waits to be loaded again for lack of memory comes first.
            is_short = any(isinstance(load.error, LackOfMemoryError) for load in self._begun)
            has_room = self._held < AHEAD_BYTES and not is_short
            fits = has_room if wanted is None else self._submitted[0] is wanted
            if not fits:
                return None
            self._begun.append(self._submitted[0])
            return self._submitted.popleft()

    def _count_held(self, size: int) -> None:
        with self._counting:
            self._held += size
