"""The one reader of files that hold values: what adcli wrote, which anybody may have changed, and what people write.

A text is bounded before it is parsed: in size, in depth, in the number of its values, and in the length of numbers.
What it holds is compared with a declaration: a :class:`typing.TypedDict` whose annotations are Python's types and those
of this module. A key that is missing or has another value ends in one line that names file and field. Keys that are not
declared are ignored, unless the declaration is :func:`closed`.
"""

import csv
import functools
import hashlib
import json
import math
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TextIO, TypeVar, Union, get_args, get_origin

from adcli._files import DIGEST, read_state
from adcli.errors import AdcliError, one_line
from adcli.options import list_choices

if typing.TYPE_CHECKING:
    import yaml

T = TypeVar("T")

LARGEST_YAML = 1 << 20
"""Bytes of a YAML file, at most: its parser needs seconds for a few of those."""

_DEPTH = 64
_YAML_VALUES, _JSON_VALUES = 50_000, 8_000_000
_DIGITS = 64
_ROW = 1 << 24
"""Characters of a row of a table, at most."""


@dataclass(frozen=True)
class Artefact:
    """A file of values, and what is said if something is wrong with it.

    Attributes:
        path: of the file.
        error: what is raised.
        remedy: what to do, without a full stop; empty if whoever catches the error says it.
    """

    path: Path
    error: type[AdcliError]
    remedy: str = ""

    def wrong(self, what: object) -> AdcliError:
        """Return the error that says what is wrong, one line."""
        return self.error(f"{self.path}: {'; '.join(filter(None, [str(what), self.remedy]))}.")

    def text(self, largest: int) -> str:
        """Return the text of the file.

        Args:
            largest: bytes that it may have.

        Raises:
            FileNotFoundError: it is missing.
            AdcliError: it cannot be read, or is no text.
        """
        try:
            return read_state(self.path, largest)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.wrong(f"cannot be read ({error.strerror})") from None

    def parse(self, parse: Callable[[str], Any], text: str) -> Any:
        """Return what a text stands for, by :func:`parse_json` or :func:`parse_yaml`."""
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(f"cannot be read ({one_line(str(error))})") from None

    def check(self, content: Any, kind: type[T]) -> T:
        """Return what was parsed, after comparing it with a declaration; a number for one that is whole is a float."""
        try:
            return compare(content, kind)
        except ValueError as error:
            raise self.wrong(error) from None

    def check_digest(self, content: Any, besides: Collection[str] = ()) -> None:
        """Make sure that parsed JSON was not changed since it was written with its own digest.

        Args:
            content: what was parsed.
            besides: names of what the digest does not cover.
        """
        if isinstance(content, dict):
            covered = {name: value for name, value in content.items() if name not in ("digest", *besides)}
            if content.get("digest") != digest_of(covered):
                raise self._changed()

    def _changed(self) -> AdcliError:
        return self.error(f"{self.path}: was changed or damaged since it was written (its digest differs).")

    def unseal(self, text: str) -> dict[str, Any]:
        """Return the content of YAML that :func:`adcli._files.seal` wrote, if it was not changed since."""
        body, found, digest = text.rpartition(DIGEST)
        if not found or hashlib.sha256(body.encode()).hexdigest() != digest.rstrip("\n"):
            raise self._changed()
        content = self.parse(parse_yaml, body)
        if not isinstance(content, dict):
            raise self.wrong(f"is {_show(content)}, not settings by name")
        return content


def compare(content: Any, kind: type[T]) -> T:
    """Return what was parsed if it is as declared; raises :class:`ValueError` that names the field if not."""
    read: T = _reader(typing.cast(Any, kind)).read(content, "")
    return read


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 of plain values; nothing if they are nested too deeply, as no declaration has them."""
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return ""


def load_json(file: Artefact, kind: type[T], largest: int = LARGEST_YAML) -> T:
    """Return what a JSON file holds, as declared; raises as :meth:`Artefact.text` and :meth:`Artefact.check`."""
    return file.check(file.parse(parse_json, file.text(largest)), kind)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Return what JSON stands for.

    Args:
        text: the JSON.
        finite: refuse NaN and what is infinite.

    Raises:
        ValueError: it is none, and the error says why.
    """
    if sum(map(text.count, ",[{")) > _JSON_VALUES:
        raise ValueError("it has too many values")
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_parse_float if finite else float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a name twice")
    return found


def _parse_int(text: str) -> int:
    # Python refuses to read, or to write, a number of thousands of digits.
    if len(text) > _DIGITS or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"it has a number of {len(text)} digits")
    return value


def _parse_float(text: str) -> float:
    if len(text) > _DIGITS or not math.isfinite(value := float(text)):
        raise ValueError(f"it has a number that is not finite, or of too many digits: {text[:_DIGITS]}")
    return value


def parse_yaml(text: str) -> Any:
    """Return what YAML stands for, without aliases, tags, merge keys and dates, which are text, as all keys are.

    Raises:
        ValueError: it is no such YAML, and the error says in which line.
    """
    import yaml

    if len(text) > LARGEST_YAML:
        raise ValueError(f"it is longer than {LARGEST_YAML >> 10} KiB")
    # What libyaml does not take is half of a surrogate pair, such as a byte of a file's name that is no text.
    quick = not re.search(r"\\u[dD][89a-fA-F]", text) and getattr(yaml, "CSafeLoader", None)
    events = yaml.parse(text, Loader=quick or yaml.SafeLoader)
    try:
        return _YamlBuilder(events).build()
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


class _YamlBuilder:
    """Makes values of the events of a parser, so that nothing is expanded and nothing looked up."""

    def __init__(self, events: "Iterator[yaml.Event]") -> None:
        self._events = self._bound(events)

    def _bound(self, events: "Iterator[yaml.Event]") -> "Iterator[yaml.Event]":
        import yaml

        for count, event in enumerate(events):
            problem = ""
            if count > _YAML_VALUES:
                problem = "too many values"
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                problem = "an alias ('*') or an anchor ('&'); write the value itself"
            elif getattr(event, "tag", None) is not None:
                problem = "a tag ('!'); write a plain value"
            if problem:
                raise _at(event, problem)
            yield event

    def build(self) -> Any:
        """Return the value of the only document; None without any."""
        import yaml

        value, found = None, False
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                value = self._value(event, 0)
            elif isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise _at(event, "a second document ('---')")
                found = True
        return value

    def _value(self, event: "yaml.Event", depth: int) -> Any:
        import yaml

        if depth > _DEPTH:
            raise _at(event, "values that are nested too deeply")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        return [self._value(item, depth + 1) for item in iter(lambda: self._item(yaml.SequenceEndEvent), None)]

    def _item(self, end: type["yaml.Event"]) -> "yaml.Event | None":
        event = next(self._events)
        return None if isinstance(event, end) else event

    def _mapping(self, depth: int) -> dict[str, Any]:
        import yaml

        found: dict[str, Any] = {}
        for key in iter(lambda: self._item(yaml.MappingEndEvent), None):
            if not isinstance(key, yaml.ScalarEvent) or (key.value == "<<" and key.implicit[0]):
                raise _at(key, "a key that is no text")
            if key.value in found:
                raise _at(key, f"the key '{one_line(key.value)[:60]}' twice")
            found[key.value] = self._value(next(self._events), depth + 1)
        return found

    def _scalar(self, event: "yaml.ScalarEvent") -> Any:
        import yaml

        text = event.value
        if "\0" in text:
            raise _at(event, "a NUL character")
        if not event.implicit[0]:
            return text
        patterns = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
        kind = next((tag.rpartition(":")[2] for tag, pattern in patterns if pattern.match(text)), "")
        if kind in ("int", "float"):
            return self._number(event, kind)
        values = {"null": None, "bool": yaml.SafeLoader.bool_values.get(text.lower())}
        return values.get(kind, text)

    @staticmethod
    def _number(event: "yaml.ScalarEvent", kind: str) -> float:
        import yaml

        made = yaml.constructor.SafeConstructor()
        node = yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", event.value)
        try:
            if len(event.value) > _DIGITS:
                raise ValueError
            value = made.construct_yaml_int(node) if kind == "int" else made.construct_yaml_float(node)
            if kind == "int" and not -(2**63) <= value < 2**63:
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            raise _at(event, f"'{event.value[:_DIGITS]}', which is no number that can be used") from None
        return typing.cast(float, value)


def _at(event: "yaml.Event", what: str) -> ValueError:
    return ValueError(f"line {getattr(event.start_mark, 'line', 0) + 1} has {what}")


def read_rows(file: TextIO, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table in CSV, opened without translating ends of lines, each with the number of its line.

    Raises:
        ValueError: a row is too long, or, if ``strict``, has a quote in the wrong place; the error says in which line.
    """
    csv.field_size_limit(_ROW)
    lines = _BoundedLines(file)
    rows = csv.reader(lines, strict=strict)
    try:
        for row in rows:
            yield rows.line_num, row
            lines.taken = 0
    except (ValueError, csv.Error) as error:
        raise ValueError(f"line {rows.line_num + isinstance(error, ValueError)}: {error}") from None


class _BoundedLines:
    """The lines of a table; a row that never ends does not fill the memory."""

    def __init__(self, file: TextIO) -> None:
        self._file, self.taken = file, 0

    def __iter__(self) -> "_BoundedLines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(_ROW - self.taken + 1)
        self.taken += len(line)
        if self.taken > _ROW:
            raise ValueError(f"a row has more than {_ROW >> 20} million characters")
        if not line:
            raise StopIteration
        return line


class Rule(NamedTuple):
    """A type of values that a declaration can have.

    Attributes:
        words: what a value must be, with an article.
        read: returns the value, or raises :class:`ValueError` or :class:`TypeError` if it is none.
    """

    words: str
    read: Callable[[Any], Any]


class _WrongError(ValueError):
    """A field has a value that is not as declared."""


def _wrong(field: str, value: Any, words: str) -> _WrongError:
    return _WrongError(f"{field or 'it'} is {_show(value)}, not {words}")


def _show(value: Any) -> str:
    """Return a value as a message shows it, whatever its size."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return one_line(f"'{value[:60]}'" if isinstance(value, str) else repr(value))


def _under(field: str, key: str) -> str:
    name = one_line(key)[:60]
    return f"{field}.{name}" if field else name


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


AnyText = Annotated[str, Rule("a text", _as_text(".*"))]
Count = Annotated[int, Rule("a whole number of at least 0", _as_whole(0))]
Ordinal = Annotated[int, Rule("a whole number of at least 1", _as_whole(1))]
Positive = Annotated[float, Rule("a number above 0", _as_number(math.nextafter(0, 1)))]
NotNegative = Annotated[float, Rule("a number of at least 0", _as_number(0))]
Share = Annotated[float, Rule("a number from 0 to 1", _as_number(0, 1))]
Rate = Annotated[float, Rule("a rate from 1e-9 to below 1", _as_number(1e-9, math.nextafter(1, 0)))]
Digest = Annotated[str, Rule("a sha256", _as_text(r"[0-9a-f]{64}"))]
Time = Annotated[str, Rule("a time such as 2026-11-27T05:31:14Z", _as_time)]
FileName = Annotated[str, Rule("the name of a file below the folder", _as_file_name)]
Side = Annotated[int, Rule("a number of pixels", _as_whole(1, 1 << 20))]
Offset = Annotated[int, Rule("a number of pixels", _as_whole(0, 1 << 20))]

_PLAIN: Mapping[Any, Rule] = {
    str: Rule("a text without NUL", _as_text()),
    int: Rule("a whole number", _as_whole(-(2**63))),
    float: Rule("a finite number", _as_number()),
    bool: Rule("true or false", _as_bool),
}


class _Reader(NamedTuple):
    """What reads values of a type: in words, what they are, and a function of the value and the name of its field."""

    words: str
    read: Callable[[Any, str], Any]


def closed(kind: type[T]) -> type[T]:
    """Declare that a file must not have other keys, as they could change a score or a verdict."""
    # What PEP 728 calls it, which Pythons of today do not have.
    kind.__closed__ = True  # type: ignore[attr-defined]
    return kind


@functools.cache
def _reader(kind: Any) -> _Reader:
    """Return what reads values of a type, as an annotation names it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if typing.is_typeddict(kind):
        return _Reader("a mapping", lambda value, field: _read_fields(kind, value, field))
    if kind is Any:
        return _Reader("a value", _read_any)
    if origin is NotRequired:
        return _reader(arguments[0])
    if origin is Annotated:
        return _by_rule(arguments[1])
    if origin in (Union, UnionType):
        return _optional(_reader(next(inner for inner in arguments if inner is not type(None))))
    if origin is Literal:
        return _by_rule(Rule(list_choices([f"'{choice}'" for choice in arguments]), _as_choice(arguments)))
    if origin is list:
        return _Reader("a list", _list_reader(_reader(arguments[0])))
    if origin is tuple:
        return _tuple_of([_reader(argument) for argument in arguments])
    if origin is dict:
        return _Reader("a mapping", _mapping_reader(*map(_reader, arguments)))
    return _by_rule(_PLAIN[kind])


def _by_rule(rule: Rule) -> _Reader:
    def read(value: Any, field: str) -> Any:
        try:
            return rule.read(value)
        except (TypeError, ValueError, AttributeError):
            raise _wrong(field, value, rule.words) from None

    return _Reader(rule.words, read)


def _as_choice(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in map(type, choices):
            raise TypeError
        return choices[choices.index(value)]

    return read


def _optional(inner: _Reader) -> _Reader:
    words = f"{inner.words} or null"

    def read(value: Any, field: str) -> Any:
        if value is None:
            return None
        try:
            return inner.read(value, field)
        except _WrongError as error:
            at_field = str(error).startswith(f"{field} is ")
            raise _wrong(field, value, words) if at_field else error from None

    return _Reader(words, read)


def _list_reader(inner: _Reader) -> Callable[[Any, str], list[Any]]:
    def read(value: Any, field: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(field, value, "a list")
        return [inner.read(item, f"{field}[{i}]") for i, item in enumerate(value)]

    return read


def _tuple_of(inner: list[_Reader]) -> _Reader:
    words = f"a list of {len(inner)}, each {inner[0].words}"

    def read(value: Any, field: str) -> list[Any]:
        if not isinstance(value, list) or len(value) != len(inner):
            raise _wrong(field, value, words)
        return [reader.read(item, f"{field}[{i}]") for i, (reader, item) in enumerate(zip(inner, value, strict=True))]

    return _Reader(words, read)


def _mapping_reader(name: _Reader, inner: _Reader) -> Callable[[Any, str], dict[str, Any]]:
    def read(value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(field, value, "a mapping")
        return {
            name.read(key, f"a name in {field}"): inner.read(item, _under(field, key)) for key, item in value.items()
        }

    return read


def _read_any(value: Any, field: str, depth: int = 0) -> Any:
    """Return a value of any kind that is not nested too deeply to be written again."""
    if depth > _DEPTH:
        raise _WrongError(f"{field.partition('.')[0]} is nested too deeply")
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, (dict, list)):
            _read_any(item, _under(field, str(key)), depth + 1)
    return value


def say_unknown(name: str) -> str:
    """Say that a file has a key that could change a score or a verdict, and that this version does not know."""
    return f"{one_line(name)[:60]} is not known; upgrade adcli-core if a newer one wrote it"


@functools.cache
def _declared(kind: Any) -> dict[str, _Reader]:
    return {name: _reader(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()}


def _read_fields(kind: Any, value: Any, field: str) -> Any:
    """Return a mapping of declared fields; others are kept as they are, if the declaration is not closed."""
    if not isinstance(value, dict):
        raise _wrong(field, value, "a mapping")
    declared = _declared(kind)
    missing = [name for name in kind.__required_keys__ if name not in value]
    if missing:
        raise _WrongError(f"{_under(field, min(missing))} is missing")
    found = {}
    for key, item in value.items():
        name = _under(field, key)
        if key not in declared and getattr(kind, "__closed__", False):
            raise _WrongError(say_unknown(name))
        found[key] = (declared.get(key) or _reader(Any)).read(item, name)
    return found
