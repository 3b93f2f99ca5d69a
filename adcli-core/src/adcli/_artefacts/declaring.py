"""What files of values hold, declared: a :class:`typing.TypedDict` with Python's types and those of this module.

Keys that are not declared are ignored, unless the declaration is :func:`closed`.
"""

import functools
import math
import re
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypeVar, Union, get_args, get_origin

from adcli._artefacts.parsing import DEPTH
from adcli.errors import one_line
from adcli.options import list_choices

T = TypeVar("T")


class Rule(NamedTuple):
    """How values of a type are read.

    Attributes:
        words: what a value must be, with an article.
        read: returns the value, or raises :class:`ValueError` or :class:`TypeError` if it is none.
    """

    words: str
    read: Callable[[Any], Any]


class _WrongError(ValueError):
    """A value is not as declared.

    Args:
        words: what is wrong with it, of which it is the subject.

    Attributes:
        field: which value, such as ``record.data.fitted``; added to from within, as an error is on its way.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words, self.field = words, ""

    def __str__(self) -> str:
        return f"{self.field or 'it'} {self.words}"

    def within(self, name: str | int) -> "_WrongError":
        """Return the error as one about what has the value under a name or at a place."""
        outer = f"[{name}]" if isinstance(name, int) else one_line(name)[:60]
        self.field = f"{outer}.{self.field}" if self.field and self.field[0] != "[" else f"{outer}{self.field}"
        return self


def _wrong(value: Any, words: str) -> _WrongError:
    return _WrongError(f"is {_show(value)}, not {words}")


def _show(value: Any) -> str:
    """Return a value as a message shows it, whatever its size."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return one_line(f"'{value[:60]}'" if isinstance(value, str) else repr(value))


def _as_number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError
        if not (low <= value <= high and math.isfinite(value)):
            raise ValueError
        return float(value)

    return read


def _as_whole(low: int, high: int = 2**63 - 1) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int:
            raise TypeError
        if not low <= value <= high:
            raise ValueError
        return value

    return read


def _as_any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_text(pattern: str = r"[^\0]*") -> Callable[[Any], str]:
    whole = re.compile(pattern, re.ASCII | re.DOTALL)

    def read(value: Any) -> str:
        if not whole.fullmatch(value):
            raise ValueError
        return str(value)

    return read


def _as_time(value: Any) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)", value, re.ASCII):
        raise ValueError
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError:
        raise ValueError from None
    return str(value)


def _as_file_name(value: Any) -> str:
    parts = value.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in value or re.search(r"[\0-\x1f\x7f]", value) or len(value) > 4096:
        raise ValueError
    return str(value)


def _as_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


AnyText = Annotated[str, Rule("a text", _as_any_text)]
Count = Annotated[int, Rule("a whole number of at least 0", _as_whole(0))]
Ordinal = Annotated[int, Rule("a whole number of at least 1", _as_whole(1))]
Positive = Annotated[float, Rule("a number above 0", _as_number(math.nextafter(0, 1)))]
NotNegative = Annotated[float, Rule("a number of at least 0", _as_number(0))]
Share = Annotated[float, Rule("a number from 0 to 1", _as_number(0, 1))]
Confidence = Annotated[float, Rule("a confidence from 0 to below 1", _as_number(0, math.nextafter(1, 0)))]
Rate = Annotated[float, Rule("a rate from 1e-9 to below 1", _as_number(1e-9, math.nextafter(1, 0)))]
Digest = Annotated[str, Rule("a sha256", _as_text(r"[0-9a-f]{64}"))]
Time = Annotated[str, Rule("a time such as 2026-11-27T05:31:14Z", _as_time)]
FileName = Annotated[str, Rule("the name of a file below the folder", _as_file_name)]
Side = Annotated[int, Rule("a number of pixels", _as_whole(1, 1 << 20))]
White = Annotated[int, Rule("a number from 255 to 65535", _as_whole(255, 65535))]
Tiles = Annotated[int, Rule("a number of tiles from 1 to 64", _as_whole(1, 64))]
Overlap = Annotated[float, Rule("a share from 0 to a half", _as_number(0, 0.5))]
Offset = Annotated[int, Rule("a number of pixels", _as_whole(0, 1 << 20))]

_PLAIN: Mapping[Any, Rule] = {
    str: Rule("a text without NUL", _as_text()),
    int: Rule("a whole number", _as_whole(-(2**63))),
    float: Rule("a finite number", _as_number()),
    bool: Rule("true or false", _as_bool),
}


def closed(kind: type[T]) -> type[T]:
    """Declare that a file must not have other keys, as they could change a score or a verdict."""
    # What PEP 728 calls it, which Pythons of today do not have.
    kind.__closed__ = True  # type: ignore[attr-defined]
    return kind


@functools.cache
def _reader(kind: Any) -> Rule:
    """Return what reads values of a type, as an annotation names it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if typing.is_typeddict(kind):
        return Rule("a mapping", functools.partial(_read_fields, kind))
    if kind is Any:
        return Rule("a value", _read_any)
    if origin is NotRequired:
        return _reader(arguments[0])
    if origin is Annotated:
        return _by_rule(arguments[1])
    if origin in (Union, UnionType):
        return _optional(_reader(next(inner for inner in arguments if inner is not type(None))))
    if origin is Literal:
        return _by_rule(Rule(list_choices([f"'{choice}'" for choice in arguments]), _as_choice(arguments)))
    if origin is list:
        return Rule("a list", functools.partial(_read_list, _reader(arguments[0]).read))
    if origin is tuple:
        return _tuple_of([_reader(argument) for argument in arguments])
    if origin is dict:
        return Rule("a mapping", functools.partial(_read_mapping, *(_reader(part).read for part in arguments)))
    return _by_rule(_PLAIN[kind])


def _by_rule(rule: Rule) -> Rule:
    def read(value: Any) -> Any:
        try:
            return rule.read(value)
        except (TypeError, ValueError, AttributeError):
            raise _wrong(value, rule.words) from None

    return Rule(rule.words, read)


def _as_choice(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in map(type, choices):
            raise TypeError
        return choices[choices.index(value)]

    return read


def _optional(inner: Rule) -> Rule:
    words = f"{inner.words} or null"

    def read(value: Any) -> Any:
        if value is None:
            return None
        try:
            return inner.read(value)
        except _WrongError as error:
            # What is wrong within a value is said as it is.
            raise (error if error.field else _wrong(value, words)) from None

    return Rule(words, read)


def _read_list(read: Callable[[Any], Any], value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, "a list")
    found: list[Any] = []
    try:
        for item in value:
            found.append(read(item))  # noqa: PERF401 - how many there are says which one is wrong
    except _WrongError as error:
        raise error.within(len(found)) from None
    return found


def _tuple_of(inner: list[Rule]) -> Rule:
    words = f"a list of {len(inner)}, each {inner[0].words}"

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) != len(inner):
            raise _wrong(value, words)
        readers = iter(inner)
        return _read_list(lambda item: next(readers).read(item), value)

    return Rule(words, read)


def _read_mapping(name: Callable[[Any], Any], read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, "a mapping")
    found = {}
    for key, item in value.items():
        try:
            name(key)
        except _WrongError as error:
            raise _WrongError(f"has a name that {error.words}") from None
        try:
            found[key] = read(item)
        except _WrongError as error:
            raise error.within(key) from None
    return found


def _read_any(value: Any, depth: int = 0) -> Any:
    """Return a value of any kind that is not nested too deeply to be written again."""
    if depth > DEPTH:
        raise _WrongError("is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, (dict, list)):
            _read_any(item, depth + 1)
    return value


UNKNOWN = "is not known; upgrade adcli-core if a newer one wrote it"
"""What is said of a key that could change a score or a verdict."""


@functools.cache
def _declared(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _reader(hint).read for name, hint in typing.get_type_hints(kind, include_extras=True).items()}


def _read_fields(kind: Any, value: Any) -> Any:
    """Return a mapping of declared fields; others are kept as they are, if the declaration is not closed."""
    if not isinstance(value, dict):
        raise _wrong(value, "a mapping")
    declared, found = _declared(kind), {}
    missing = kind.__required_keys__ - value.keys()
    if missing:
        raise _WrongError("is missing").within(min(missing))
    for key, item in value.items():
        if key not in declared and getattr(kind, "__closed__", False):
            raise _WrongError(UNKNOWN).within(key)
        try:
            found[key] = declared.get(key, _read_any)(item)
        except _WrongError as error:
            raise error.within(key) from None
    return found


def compare(content: Any, kind: type[T]) -> T:
    """Return what was parsed if it is as declared; raises :class:`ValueError` that names the field if not."""
    read: T = _reader(typing.cast(Any, kind)).read(content)
    return read
