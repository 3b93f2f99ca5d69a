"""Mutations of what people give to adcli: bytes, texts and trees of values, by a seeded source of chance."""

import copy
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from random import Random
from typing import Any

LONG = "x" * 300
DIGITS = "9" * 5000
HUGE = "9" * 40

WORDS = (
    *("", " ", ".", "..", "../..", "-", "--", "~", "~nobody/x", "last", "none", "null", "nan", "-inf", "1e400"),
    *("0", "-1", "1", "0.5", "-0", "1e-320", "18446744073709551616", HUGE, DIGITS, "٣", "1_0", "0x10", "true", "yes"),
    *(
        LONG,
        f"/{LONG}",
        "a/" * 3000,
        "line\nbreak",
        "cr\rname",
        "tab\t",
        "\x1b[31mred",
        "nul\0",
        "\ufeff",
        "\u202e",
        "ü",
    ),
    *(
        "u\u0308",
        "\udcfc",
        "\U0001f600",
        "CON",
        "a:b",
        "a\\b",
        "*",
        "**",
        "[",
        "{}",
        "%s",
        "$(touch x)",
        "' OR 1",
        "<b>",
    ),
    *(
        "=",
        "a=b=c",
        "layers=",
        "cuda:9",
        f"cuda:{HUGE}",
        f"{HUGE}-fold",
        "2-fold",
        f"{HUGE},0,16,16",
        "0,0,16,16",
        "64",
    ),
    *(f"{HUGE}x16", "64x64", "9999-99-99", "99999-01-01T00:00:00Z", "0001-01-01", "table:", "demo:x", "timm:resnet18"),
    *("random:", "embedded", "parts", "parts/test/good/000.png", "runs/done", "file.txt", "file.txt/x", "/dev/null"),
)
"""Texts that somebody has typed, or will."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), 2**63, 2**64, 10**40),
    *([], {}, [[]], [None], {"": None}, [1, 2], {"a": 1}, "x", date(1, 1, 1), date(9999, 12, 31)),
)
"""Values of wrong types and sizes."""

PIECES = (
    *(b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\r", b"\n", b"\r\n", b'"', b",", b";"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"}", b"[" * 200, b"&a ", b"*a", b"!!python/object:os.system ", b"!!int x"),
    *(b"- " * 500, b"0" * 300, b"%", b"\\u0000", b"\xc3\x28", b"../", b"\x1b[2J"),
)
"""Bytes that mean something to somebody."""


def mutate_bytes(content: bytes, chance: Random) -> bytes:
    """Return a content with one to eight changes, most at its beginning, where formats say what they are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        chance.choice(_BYTE_CHANGES)(changed, chance)
    return bytes(changed)


def _place(content: bytearray, chance: Random) -> int:
    """Return where to change a content."""
    if not content:
        return 0
    near = chance.random() < 0.6
    return chance.randrange(min(len(content), 200)) if near else chance.randrange(len(content))


def _flip(content: bytearray, chance: Random) -> None:
    if content:
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _write_over(content: bytearray, chance: Random) -> None:
    at, piece = _place(content, chance), chance.choice(PIECES)
    content[at : at + len(piece)] = piece


def _insert(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    content[at:at] = chance.choice(PIECES)


def _remove(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    del content[at : at + chance.choice((1, 2, 4, 16, 100, 1000))]


def _cut(content: bytearray, chance: Random) -> None:
    del content[_place(content, chance) :]


def _repeat(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    content[at:at] = content[at : at + chance.choice((1, 4, 50))] * chance.choice((1, 2, 100))


def _scramble(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    length = min(chance.choice((1, 4, 16)), len(content) - at)
    content[at : at + length] = chance.randbytes(length)


_BYTE_CHANGES: Sequence[Callable[[bytearray, Random], None]] = (
    *(_flip, _write_over, _insert, _remove, _cut, _repeat, _scramble),
)


def mutate_text(text: str, chance: Random) -> bytes:
    """Return a text of lines and fields, some of them replaced, left out, repeated or out of order."""
    if chance.random() < 0.3:
        return mutate_bytes(text.encode(errors="surrogateescape"), chance)
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(lines))
        fields = lines[at].split(",")
        fields[chance.randrange(len(fields))] = chance.choice(WORDS)
        lines[at] = chance.choice((",".join(fields), lines[at], "", lines[at] * 2, chance.choice(WORDS)))
        if chance.random() < 0.2:
            lines.insert(at, chance.choice(lines))
    encoding = chance.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "latin-1"))
    return "\n".join(lines).encode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")


def mutate_tree(tree: Any, chance: Random) -> Any:
    """Return a tree of mappings, lists and values with one to three of its parts replaced, left out or added."""
    changed = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return _value(chance)
        parent, key = chance.choice(places)
        _change(parent, key, chance)
    return changed


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each part's parent and its key there."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in items:
        yield tree, key
        yield from _places(part)


def _change(parent: Any, key: Any, chance: Random) -> None:
    what = chance.random()
    if what < 0.6:
        parent[key] = _near(parent[key], chance) if chance.random() < 0.4 else _value(chance)
    elif what < 0.8:
        del parent[key]
    elif isinstance(parent, dict):
        parent[chance.choice((*WORDS, 1, None, True))] = _value(chance)
    else:
        parent.extend([_value(chance)] * chance.choice((1, 3, 1000)))


def _near(value: Any, chance: Random) -> Any:
    """Return a value of the same type, or one that reads like it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chance.choice((-value, value + 1, value * 1e9, str(value), float(value), [value], 0))
    if isinstance(value, str):
        return chance.choice(
            (value + "x", value[:-1], value.upper(), [value], f"../{value}", value + "\n", value * 100)
        )
    return [value]


def _value(chance: Random) -> Any:
    what = chance.random()
    if what < 0.05:
        return _nested(chance.choice((50, 200)))
    return chance.choice(WORDS) if what < 0.5 else copy.deepcopy(chance.choice(VALUES))


def _nested(depth: int) -> Any:
    tree: Any = 1
    for _ in range(depth):
        tree = [tree]
    return tree
