"""Streams of decoded images: decoded in threads, cached up to a bound."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from adcli.data.decoding import Decoded, Size
from adcli.data.framing import PLAIN, Framing, decode
from adcli.errors import DataError

DEFAULT_CACHE_BYTES = 256 << 20


class ImageSource:
    """Decodes images to one size, ahead of their use, and keeps as many as fit its cache.

    The cache is filled in the order of first use and then kept: with passes that visit every image in turn, replacing
    old entries would throw out each image just before it is needed again.

    Args:
        size: height and width to decode to.
        workers: decoding threads; 0 decodes in the calling thread.
        cache_bytes: bound on the decoded pixels kept in memory; 0 keeps none.
        skip_unreadable: leave unreadable images out and collect their errors in ``skipped``, instead of raising.
        framing: what is done to images before they are resized.
    """

    def __init__(
        self,
        size: Size,
        *,
        workers: int = 2,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        skip_unreadable: bool = False,
        framing: Framing = PLAIN,
    ) -> None:
        self.size = size
        self.workers = workers
        self.cache_bytes = cache_bytes
        self.skip_unreadable = skip_unreadable
        self.framing = framing
        self.skipped: dict[Path, str] = {}
        self._cache: dict[Path, Decoded] = {}
        self._cached_bytes = 0

    def read(self, path: Path) -> Decoded:
        """Return one decoded image; raises :class:`DataError` where it cannot be read."""
        cached = self._cache.get(path)
        return cached if cached is not None else decode(path, self.size, self.framing)

    def stream(self, paths: Iterable[Path], *, ahead: int = 32) -> Iterator[tuple[Path, Decoded]]:
        """Yield path and decoded image in the given order, decoding at most ``ahead`` images before their use."""
        for path, image in self._decoded(paths, ahead):
            if isinstance(image, DataError):
                if not self.skip_unreadable:
                    raise image
                self.skipped[path] = image.format_message()
                continue
            self._keep(path, image)
            yield path, image

    def readable(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Yield the paths that can be decoded; raises at the first that cannot, unless they are to be skipped."""
        return (path for path, _ in self.stream(paths))

    def _decoded(self, paths: Iterable[Path], ahead: int) -> Iterator[tuple[Path, Decoded | DataError]]:
        if self.workers == 0:
            yield from ((path, self._attempt(path)) for path in paths)
            return
        remaining = iter(paths)
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[tuple[Path, Future[Decoded | DataError]]] = deque(
                (path, pool.submit(self._attempt, path)) for path in islice(remaining, ahead)
            )
            try:
                while waiting:
                    path, future = waiting.popleft()
                    yield path, future.result()
                    waiting.extend((path, pool.submit(self._attempt, path)) for path in islice(remaining, 1))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _attempt(self, path: Path) -> Decoded | DataError:
        try:
            return self.read(path)
        except DataError as error:
            return error

    def _keep(self, path: Path, image: Decoded) -> None:
        if path not in self._cache and self._cached_bytes + image.pixels.nbytes <= self.cache_bytes:
            self._cache[path] = image
            self._cached_bytes += image.pixels.nbytes
