"""How objects show themselves: one line for ``repr``, and small pieces of HTML for notebooks."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from adcli.errors import one_line, printable

WIDEST = 116
"""Characters of a line, at most."""

_NAME = 28
"""Characters that are left to a name, at least, and its end is shown, which tells more."""


def introduce(shown: object, name: object = "", *facts: str) -> str:
    """Return an object in one line: its class, its name, and facts, of which empty ones are left out."""
    kind = type(shown).__name__
    told = ", ".join(one_line(fact) for fact in facts if fact)
    room = max(WIDEST - len(f"<{kind} : {told}>"), _NAME)
    named = " ".join(printable(str(name)[-2 * WIDEST :]).split())
    named = named if len(named) <= room else f"...{named[3 - room :]}"
    return f"<{cut(f'{kind} {named}'.rstrip() + (f': {told}' if told else ''), WIDEST - 2)}>"


def cut(line: str, widest: int = WIDEST) -> str:
    """Return a line, or its beginning if it is too long."""
    return line if len(line) <= widest else f"{line[: widest - 3]}..."


def say_number(name: str, value: float | None, form: str = ".4g") -> str:
    """Return a fact that is a number, such as ``"score 3.21"``; nothing if it is not known."""
    return "" if value is None else f"{name} {value:{form}}"


def say_threshold(value: float | None) -> str:
    """Return a threshold as a fact."""
    return "no threshold" if value is None else say_number("threshold", value)


def count(number: int, what: str) -> str:
    """Return a number of things, such as ``"1 image"`` or ``"2 images"``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


class Markup(str):
    """A text that is HTML already."""


def escape(value: object) -> str:
    """Return anything as HTML: markup as it is, and every other text escaped, in one line without control characters.

    A name is whole, unless nobody would read it.
    """
    from html import escape as escape_text

    return value if isinstance(value, Markup) else escape_text(one_line(value))


def tabulate(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; it has the colours of the page that it is in."""
    lines = "".join(f"<tr>{''.join(_cell('td', value) for value in row)}</tr>" for row in rows)
    return Markup(f"<table><thead><tr>{''.join(_cell('th', name) for name in head)}</tr></thead>{lines}</table>")


def list_facts(facts: Mapping[str, object]) -> Markup:
    """Return facts by name, of which empty ones are left out."""
    rows = (f"<tr>{_cell('th', name)}{_cell('td', value)}</tr>" for name, value in facts.items() if value)
    return Markup(f"<table>{''.join(rows)}</table>")


def _cell(tag: str, value: object) -> str:
    # Notebooks have texts of tables on the right.
    return f'<{tag} style="text-align:left">{escape(value)}</{tag}>'


def show_image(uri: str, name: str) -> Markup:
    """Return an image that is in a data URI, with a name for those who do not see it."""
    style = "display:inline-block;margin:0 6px 6px 0;max-width:none"
    return Markup(f'<img src="{uri}" alt="{escape(name)}" style="{style}">')


def join_blocks(*blocks: str) -> Markup:
    """Return blocks of text, markup or not, below each other; empty ones are left out."""
    return Markup("".join(f"<div>{escape(block)}</div>" for block in blocks if block))


def link_file(path: Path, words: str) -> Markup:
    """Return a link to a file; nothing if it is not there."""
    import os
    from urllib.parse import quote

    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises an error for some names
        return Markup("")
    # Both leave no sign in it that HTML knows.
    place = path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
    return Markup(f'<a href="{place}">{escape(words)}</a>')
