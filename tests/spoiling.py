"""Files of values with one value replaced, and the digests that go with it, as somebody could write them on purpose."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from adcli._artefacts import digest_of
from adcli._artefacts.parsing import parse_yaml
from adcli._files import DIGEST, file_digest, seal

RAW = "@raw@"
"""Stands for what neither YAML nor JSON writers write."""

WRONG: Mapping[str, Any] = {
    "text": "x",
    "empty text": "",
    "null": None,
    "true": True,
    "list": [1, "x"],
    "empty list": [],
    "long list": [0.5] * 40,
    "mapping": {"x": 1},
    "empty mapping": {},
    "negative": -1,
    "huge": 2**62,
    "large": 1e308,
    "number in words": "1/0",
    "nan in words": "nan",
    "NUL": "a\0b",
    "line break": "a\nError: b",
    "ESC": "\x1b]0;x\x07\x1b[31m",
    "way out": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "date": "2026-99-99T00:00:00Z",
    "early": "0001-01-01T00:00:00+14:00",
    "template": "{0.__class__} %s $(id)",
    "surrogate": "\udcff",
    "long": "y" * 100_000,
}

RAW_JSON: Mapping[str, str] = {
    "5000 digits": "9" * 5000,
    "1e400": "1e400",
    "NaN": "NaN",
    "deep": "[" * 10_000 + "]" * 10_000,
    "not so deep": "[" * 300 + "]" * 300,
    "twice": '{"x": 1, "x": 2}',
}

RAW_YAML: Mapping[str, str] = {
    "5000 digits": "9" * 5000,
    "5000 hexadecimal digits": "0x" + "f" * 5000,
    "1e400": "1.0e+400",
    "infinite": ".inf",
    "NaN": ".nan",
    "date": "2026-12-31",
    "month 99": "2026-99-31 10:00:00",
    "octal": "08",
    "sexagesimal": "190:20:30",
    "bad sexagesimal": "1:::",
    "deep": "[" * 10_000 + "]" * 10_000,
    "not so deep": "[" * 300 + "]" * 300,
    "tag": "!!python/object/apply:os.system ['true']",
    "int tag": "!!int x",
    "binary": "!!binary aGk=",
    "anchor": "&a x",
    "alias": "*a",
    "bomb": "[&a [x, x], &b [*a, *a, *a], &c [*b, *b, *b], [*c, *c, *c]]",
    "merge": "{<<: {x: 1}}",
    "key that is a list": "{[1, 2]: 3}",
    "key that is null": "{null: 3}",
    "twice": "{x: 1, x: 2}",
    "set": "!!set {a, b}",
}


class Variant(NamedTuple):
    """A file with one value replaced.

    Attributes:
        field: which value, such as ``record.data.fitted``; of a list, its name without the place in it.
        wrong: what it was replaced by, in words.
        content: the whole content, with :data:`RAW` where something is put that has no type.
        raw: that.
    """

    field: str
    wrong: str
    content: Any
    raw: str = ""


def spoil(content: Any, raw: Mapping[str, str]) -> Iterator[Variant]:
    """Yield content with each value in it replaced by each wrong one, removed, and with one more beside it."""
    for path in list(_paths(content)):
        field = ".".join(str(part) for part in path if not isinstance(part, int))
        for wrong, value in WRONG.items():
            yield Variant(field, wrong, _put(content, path, value))
        for wrong, text in raw.items():
            yield Variant(field, wrong, _put(content, path, RAW), text)
        yield Variant(field, "removed", _put(content, path))
    yield Variant("unknown", "added", {**content, "unknown": {"x": [1]}})


def _paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        # All items of a list are alike.
        if not isinstance(content, list) or key in (0, len(content) - 1):
            yield from _paths(value, (*path, key))


_GONE = object()


def _put(content: Any, path: tuple[Any, ...], value: Any = _GONE) -> Any:
    content = copy.deepcopy(content)
    place = content
    for part in path[:-1]:
        place = place[part]
    if value is _GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(value)
    return content


def write_sealed(path: Path, variant: Variant) -> None:
    """Write YAML with the digest that it should have."""
    body = seal(variant.content).rpartition(DIGEST)[0]
    body = body.replace(f"'{RAW}'", variant.raw)
    path.write_text(f"{body}{DIGEST}{hashlib.sha256(body.encode()).hexdigest()}\n", encoding="utf-8")


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the content of a sealed file."""
    return dict(parse_yaml(path.read_text(encoding="utf-8").rpartition(DIGEST)[0]))


def write_json(path: Path, variant: Variant, *, digest: bool = False, besides: tuple[str, ...] = ()) -> None:
    """Write JSON, if wanted with its own digest, which does not cover some fields."""
    content = variant.content
    text = json.dumps(content).replace(f'"{RAW}"', variant.raw)
    if digest:
        try:
            parsed = json.loads(text)
            covered = {name: value for name, value in parsed.items() if name not in ("digest", *besides)}
            text = f'{text.rstrip()[:-1]}, "digest": "{digest_of(covered)}"}}'
        except (ValueError, RecursionError):
            text = f'{text.rstrip()[:-1]}, "digest": ""}}'
    path.write_text(text, encoding="utf-8")


def update_manifest(folder: Path) -> None:
    """Give the manifest of an export the digests that its files have by now."""
    content = read_sealed(folder / "manifest.yaml")
    content["files"] = {name: file_digest(folder / name) for name in content["files"]}
    (folder / "manifest.yaml").write_text(seal(content), encoding="utf-8")
