"""Texts of values, bounded before they are parsed: in size, depth, number of values, and length of numbers."""

import csv
import json
import math
import re
import typing
from collections.abc import Iterator
from typing import Any, TextIO

from adcli.errors import one_line

if typing.TYPE_CHECKING:
    import yaml

LARGEST_YAML = 1 << 20
"""Bytes of a YAML file, at most: its parser needs seconds for a few of those."""

DEPTH = 64
"""How deeply values are nested, at most."""

_YAML_VALUES, _JSON_VALUES = 50_000, 8_000_000
_DIGITS = 64
_DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|\.[a-zA-Z]{3})")
"""How a number is written, infinity and NaN among them: in YAML 1:30 is 90, 010 is 8, and 1_0 is 10."""

_ROW = 1 << 24
"""Characters of a row of a table, at most."""


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

        if depth > DEPTH:
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
            if not _DECIMAL.fullmatch(text):
                words = "which is no decimal number; write one, or put a text in quotes"
                raise _at(event, f"'{text[:_DIGITS]}', {words}")
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
