"""What a failed rule says: what is wrong, and where in the plugin's code."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from adcli.errors import AdcliError, one_line, printable

T = TypeVar("T")

Frames = Sequence[tuple[str, int]]
"""Files and lines of a call, the innermost last."""


class UnmetError(AssertionError):
    """What several rules look at is not as they need it, so that they cannot be checked."""


class LocatedError(AssertionError):
    """A rule is broken at a place that no traceback of this process shows.

    Args:
        message: what is wrong.
        frames: where.
        printed: what another process printed, for whoever wants its traceback.
        kind: the type of the error that the plugin's code raised there, if it did.
    """

    def __init__(self, message: str, frames: Frames, *, printed: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.frames = frames
        self.kind = kind
        if printed:
            self.add_note(printed)


def from_process(printed: str, code: int) -> LocatedError:
    """Return the error that another process ended with, from what it printed to stderr."""
    # The first traceback is of the error itself, those after it of what was made of it.
    first = printed.partition("\nThe above exception was the direct cause")[0].strip()
    line = (first.splitlines() or [f"exit code {code}"])[-1]
    frames = [(file, int(number)) for file, number in re.findall(r'File "([^"]+)", line (\d+)', first)]
    message = re.sub(r"^(?:\w+\.)+(\w+)(?=:|$)", r"\1", line)
    return LocatedError(message, frames, printed=printed, kind=message.partition(":")[0])


class made_once(Generic[T]):  # noqa: N801 - used as cached_property is
    """A ``cached_property`` that fails once: whoever asks again gets the same error, and waits for nothing."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}_once"

    @overload
    def __get__(self, instance: None, owner: type) -> "made_once[T]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> "made_once[T] | T":
        if instance is None:
            return self
        kept = vars(instance)
        if self.name not in kept:
            kept[self.name] = self._attempt(instance)
        value, error, frames = kept[self.name]
        if error is not None:
            raise error.with_traceback(frames)
        made: T = value
        return made

    def _attempt(self, instance: object) -> tuple[Any, Exception | None, Any]:
        try:
            return self.make(instance), None, None
        except Exception as error:
            return None, error, error.__traceback__


class Code:
    """Where a plugin's code lies.

    Args:
        packages: top-level names that it imports by.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = sorted(set(packages))

    @cached_property
    def roots(self) -> list[Path]:
        """Folders of packages, and files of modules."""
        specs = [_find(package) for package in self.packages]
        places = [place for spec in specs if spec for place in spec.submodule_search_locations or [spec.origin]]
        return [Path(place) for place in places if place]

    def name(self, file: str, line: int) -> str:
        """Return ``package/module.py:12`` for a file of the plugin; nothing for any other."""
        path = Path(file)
        for root in self.roots:
            if path == root or root in path.parents:
                shown = path.relative_to(root.parent).as_posix()
                # The kit lies in the package of the core, which has plugins too.
                return "" if shown.startswith("adcli/testing/") else f"{shown}:{line}"
        return ""

    def innermost(self, frames: Frames) -> str:
        """Return the innermost place in the plugin's code, or nothing."""
        return next((place for file, line in reversed(frames) if (place := self.name(file, line))), "")

    def definition(self, thing: Any) -> str:
        """Return where a function, method or class is defined, if the plugin defines it."""
        thing = getattr(thing, "__func__", thing)
        code = getattr(thing, "__code__", None)
        if code is not None:
            return self.name(code.co_filename, code.co_firstlineno)
        if isinstance(thing, type):
            import inspect

            try:
                return self.name(inspect.getsourcefile(thing) or "", inspect.getsourcelines(thing)[1])
            except (OSError, TypeError):
                return ""
        return ""


def _find(package: str) -> Any:
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


@dataclass(frozen=True)
class Failure:
    """Why a rule failed.

    Attributes:
        error: what was raised.
        text: what is wrong, one line.
        where: file and line of the plugin's code, or nothing.
        cause: equal for failures of one cause: an error of one type at one place, or else the words.
        crashed: whether the rule got no answer, because code of the plugin failed or gave what cannot be looked at.
    """

    error: Exception
    text: str
    where: str
    cause: tuple[str, ...]
    crashed: bool


def explain(error: Exception, code: Code, fallback: Callable[[], str]) -> Failure:
    """Return what an error of a rule means.

    Args:
        error: what the rule raised.
        code: of the plugin.
        fallback: returns the place of what the rule looks at, if the error itself has none in the plugin's code.
    """
    root = _root(error)
    raised_at = next(filter(None, (code.innermost(_frames(raised)) for raised in _chain(error))), "")
    kind = _find_kind(root, code)
    text = _words(root, verdict=isinstance(root, AssertionError) and kind != "AssertionError")
    if not kind:
        return Failure(error, text, raised_at or fallback(), (text,), crashed=False)
    cause = (kind, raised_at) if raised_at else (kind, _without_values(root, text))
    return Failure(error, text, raised_at or fallback(), cause, crashed=True)


def _without_values(error: BaseException, text: str) -> str:
    """Return what an error says without what differs from rule to rule, which give other images in other folders."""
    if isinstance(error, UnmetError):
        text = re.sub(r"""'[^']*('|$)|"[^"]*("|$)""", " ", text)
    return re.sub(r"[^\s'\"]*/[^\s'\"]*|[\d(), ]+", " ", text)


def _find_kind(error: BaseException, code: Code) -> str:
    """Return the type of an error that kept a rule from its answer; nothing for the answer that it is broken."""
    if isinstance(error, LocatedError):
        return error.kind
    frames = _frames(error)
    answer = isinstance(error, AssertionError) and not isinstance(error, UnmetError)
    # What the plugin's own code asserts is no answer of a rule.
    return "" if answer and not (frames and code.name(*frames[-1])) else type(error).__name__


def _root(error: BaseException) -> BaseException:
    """Return the error of the plugin that the core has made one line of."""
    while isinstance(error, AdcliError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error after what it came from."""
    if error is not None:
        yield from _chain(error.__cause__)
        yield error


def _frames(error: BaseException) -> Frames:
    if isinstance(error, LocatedError):
        return error.frames
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0))
    return frames


def _words(error: BaseException, verdict: bool) -> str:
    """Return what an error says; of one that says nothing, the line of code."""
    if isinstance(error, SyntaxError) and error.text:
        return one_line(f"{type(error).__name__}: {error.msg}: {error.text.strip()}")
    if verdict and str(error):
        return " ".join(printable(str(error)).split())[:600]
    if str(error):
        return one_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {frames[-1].line}" if frames and frames[-1].line else type(error).__name__
