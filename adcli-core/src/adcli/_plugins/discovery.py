"""Which installed distributions have plugins: read from their metadata, importing none of them."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version

GROUP = "adcli"


@dataclass(frozen=True)
class Candidate:
    """An entry point in the group ``adcli``, and the distribution that has it.

    Attributes:
        name: the entry point's name, or the distribution's where ``problem`` leaves no entry point.
        distribution, version: as the metadata say.
        entry_point: what to load; None where the metadata cannot be read.
        problem: why it cannot be loaded.
        warning: what is wrong with the installation though it can be loaded.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint | None = None
    problem: str = ""
    warning: str = ""


@dataclass(frozen=True)
class _Installed:
    distribution: str
    version: str
    folder: str
    source: Distribution


def canonical(name: str) -> str:
    """Return a name as PEP 503 compares them: lower case, every run of ``-``, ``_`` and ``.`` one ``-``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def discover() -> list[Candidate]:
    """Return what is installed, by name and distribution; of two of one name, what Python would import."""
    by_name: dict[str, list[_Installed]] = {}
    for installed in _with_plugins():
        by_name.setdefault(canonical(installed.distribution), []).append(installed)
    found = [candidate for same in by_name.values() for candidate in _candidates(same)]
    return sorted(found, key=lambda candidate: (candidate.name, candidate.distribution))


def _with_plugins() -> Iterator[_Installed]:
    for source in distributions(path=list(dict.fromkeys(sys.path))):
        try:
            text = source.read_text("entry_points.txt")
        except (OSError, ValueError):
            # Nothing says that what cannot be read is a plugin of ours.
            continue
        if text and f"[{GROUP}]" in text:
            yield _installed(source)


def _installed(source: Distribution) -> _Installed:
    name, version = _name_and_version(source)
    folder = str(source.locate_file(""))
    return _Installed(name or f"a distribution without a name in {folder}", version or "?", folder, source)


def _name_and_version(source: Distribution) -> tuple[str | None, str | None]:
    try:
        metadata = source.metadata
        return metadata["Name"], metadata["Version"]
    except Exception:  # what importlib raises where there is no METADATA differs between versions
        return None, None


def _candidates(same: list[_Installed]) -> Iterator[Candidate]:
    """Yield the plugins of a distribution that may be there more than once; the first folder wins, as for imports."""
    here = [installed for installed in same if installed.folder == same[0].folder]
    newest = max(here, key=_age) if len(here) > 1 else here[0]
    stale = [installed.version for installed in here if installed is not newest]
    warning = ""
    if stale:
        warning = (
            f"is installed more than once in {newest.folder}, also as {' and '.join(stale)}; run 'pip uninstall "
            f"{newest.distribution}' until none is left, and install it again"
        )
    for entry_point in _entry_points(newest.source):
        yield _candidate(newest, entry_point, warning)


def _candidate(installed: _Installed, entry_point: EntryPoint | str, warning: str) -> Candidate:
    distribution, version = installed.distribution, installed.version
    if isinstance(entry_point, str):
        return Candidate(distribution, distribution, version, problem=entry_point, warning=warning)
    problem = "its metadata have no name or no version" if version == "?" else ""
    return Candidate(entry_point.name, distribution, version, entry_point, problem, warning)


def _age(installed: _Installed) -> "Version":
    from packaging.version import InvalidVersion, Version

    try:
        return Version(installed.version)
    except InvalidVersion:
        return Version("0.dev0")


def _entry_points(source: Distribution) -> Iterable[EntryPoint | str]:
    """Return the entry points in our group, or what is wrong with them."""
    try:
        return list(source.entry_points.select(group=GROUP))
    except Exception as error:  # what importlib raises for lines it cannot read differs between versions
        return [f"its entry_points.txt cannot be read ({type(error).__name__}: {error})"]
