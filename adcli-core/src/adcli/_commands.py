"""What to type: commands as messages print them, which work where they are pasted."""

import json
import os
import re
import shlex
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from adcli import _system

CORE = "adcli-core"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def quote(*words: object) -> str:
    """Return words as one types them in a shell, those with spaces or signs in quotes.

    Control characters and bytes that are no text are written as bash and zsh read them: ``$'\\xfc'``.
    """
    texts = list(map(str, words))
    if _system.WINDOWS:
        import subprocess

        return subprocess.list2cmdline(texts)
    return " ".join(shlex.quote(text) if text.isprintable() else _quote_bytes(text) for text in texts)


def _quote_bytes(text: str) -> str:
    """Return a word in the quotes in which any byte can be written down."""
    letters = (f"\\{letter}" if letter in "\\'" else letter for letter in text)
    return "$'" + "".join(letter if letter.isprintable() else _spell_bytes(letter) for letter in letters) + "'"


def _spell_bytes(letter: str) -> str:
    errors = "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in letter.encode(errors=errors))


def install_command(*requirements: str, flags: Sequence[str] = ()) -> str:
    """Return the command that installs packages, from where adcli came from: a checkout, else an index.

    Args:
        requirements: names, perhaps with extras, such as ``"adcli-onnx[export]"``.
        flags: of ``pip install``.
    """
    sources = [word for requirement in requirements for word in _find_source(requirement)]
    return quote("pip", "install", *flags, *sources)


def _find_source(requirement: str) -> list[str]:
    """Return what to tell pip for a requirement: its folder in a checkout, or itself."""
    name, bracket, extras = requirement.partition("[")
    folder, editable = find_checkout(name)
    if find_distribution(name) is None:
        folder, editable = find_sibling(name), find_checkout(CORE)[1]
    return [*(["-e"] if editable else []), f"{folder}{bracket}{extras}"] if folder else [requirement]


def find_sibling(name: str) -> Path | None:
    """Return where a package lies in the core's checkout, if the core was installed from one that has it."""
    core, _ = find_checkout(CORE)
    places = (core.parent / name, core.parent / "plugins" / name) if core and _NAME.fullmatch(name) else ()
    # Path.is_file() raises an error for a name that is too long.
    return next((place for place in places if os.path.isfile(place / "pyproject.toml")), None)  # noqa: PTH113


def find_checkout(name: str) -> tuple[Path | None, bool]:
    """Return the folder that a distribution was installed from, if it was and is there, and whether it is editable.

    Installers record it in ``direct_url.json`` (PEP 610).
    """
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    found = find_distribution(name)
    try:
        origin = json.loads((found and found.read_text("direct_url.json")) or "{}")
        url, editable = urlsplit(origin["url"]), bool(origin["dir_info"].get("editable"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, False
    folder = Path(url2pathname(url.path))
    return (folder, editable) if url.scheme == "file" and folder.is_dir() else (None, False)


def find_distribution(name: str) -> Distribution | None:
    """Return an installed distribution by its name."""
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None
