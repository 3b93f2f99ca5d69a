"""Find installed plugins by their metadata, importing none of them."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, NamedTuple

GROUP = "adcli"


@dataclass(frozen=True)
class Candidate:
    """An entry point in the group ``adcli``, and the distribution that has it.

    Attributes:
        name: the entry point's name, or the distribution's if its entry points cannot be read.
        distribution, version: from the metadata.
        entry_point: what to load; None if the entry points cannot be read.
        problem: why it cannot be loaded.
        warning: what is wrong with the installation, although it can be loaded.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint | None = None
    problem: str = ""
    warning: str = ""


class _Copy(NamedTuple):
    """One copy of a distribution; ``pip`` can leave several behind."""

    name: str
    version: str
    folder: str
    source: Distribution


def canonical(name: str) -> str:
    """Return a name as PEP 503 compares names: lower case, each run of ``-``, ``_`` and ``.`` a single ``-``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def discover() -> list[Candidate]:
    """Return the plugins that are installed, sorted by name; of several copies, the one Python would import."""
    copies: dict[str, list[_Copy]] = {}
    for copy in _find_copies():
        copies.setdefault(canonical(copy.name), []).append(copy)
    found = [candidate for same in copies.values() for candidate in _read_entry_points(same)]
    return sorted(found, key=lambda candidate: (candidate.name, candidate.distribution))


def _find_copies() -> Iterator[_Copy]:
    """Yield every distribution whose entry points mention our group, in the order of ``sys.path``."""
    for source in distributions(path=list(dict.fromkeys(sys.path))):
        try:
            text = source.read_text("entry_points.txt") or ""
        except (OSError, ValueError):
            continue  # An unreadable file does not say that it is a plugin of ours.
        if f"[{GROUP}]" in text:
            folder = str(source.locate_file(""))
            try:
                name, version = source.metadata["Name"], source.metadata["Version"]
            except Exception:  # What importlib raises without METADATA depends on Python's version.
                name = version = ""
            yield _Copy(name or f"a distribution without a name in {folder}", version or "?", folder, source)


def _read_entry_points(copies: list[_Copy]) -> Iterator[Candidate]:
    """Yield the plugins of one distribution, or one candidate that says why its entry points cannot be read."""
    # The first folder wins, as it does for imports. In one folder, the newest metadata belong to the code.
    same_folder = [copy for copy in copies if copy.folder == copies[0].folder]
    newest = max(same_folder, key=_age) if len(same_folder) > 1 else same_folder[0]
    others = " and ".join(copy.version for copy in same_folder if copy is not newest)
    warning = (
        f"is installed more than once in {newest.folder}, also as {others}; run 'pip uninstall {newest.name}' until "
        "none is left, then install it again"
    )
    problem = "its metadata lack a name or a version" if newest.version == "?" else ""
    try:
        for point in newest.source.entry_points.select(group=GROUP):
            yield Candidate(point.name, newest.name, newest.version, point, problem, warning if others else "")
    except Exception as error:  # What importlib raises for a damaged file depends on Python's version.
        problem = f"its entry_points.txt cannot be read ({type(error).__name__}: {error})"
        yield Candidate(newest.name, newest.name, newest.version, None, problem)


def _age(copy: _Copy) -> Any:
    # Imported here: hardly anyone has two copies, and every command starts with discovery.
    from packaging.version import InvalidVersion, Version

    try:
        return Version(copy.version)
    except InvalidVersion:
        return Version("0.dev0")
