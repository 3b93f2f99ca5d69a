"""Suggest what will most likely repair a plugin that failed. Only imported after a failure."""

import platform
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from adcli import __version__
from adcli._commands import CORE, find_checkout, find_distribution, install_command
from adcli.specs import kind_in_words

_REPORT = "look at what it was given; if that is right, report this with what ADCLI_TRACE=1 prints"
"""What to do about an error in the core: as likely as not it is in the input, and users do not mend the core."""


def guess_packages(kind: str, name: str) -> list[str]:
    """Return the packages that most likely offer a name: by custom, a plugin is named after what it offers.

    Data sets mostly come in a collection, and so do backbones without a prefix.
    """
    own = f"adcli-{name.rstrip(':').replace('_', '-')}"
    if kind == "backbone" and not name.endswith(":"):
        return [own, "adcli-embedded-lite"]
    return ["adcli-datasets", own] if kind == kind_in_words("dataset") else [own]


def find_conflict(name: str) -> str:
    """Return which version of the core a distribution needs, if the installed one is another; else nothing."""
    found = find_distribution(name)
    for text in (found.requires if found else None) or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name == CORE and not requirement.specifier.contains(__version__, prereleases=True):
            return f"it needs {CORE}{requirement.specifier}, but {__version__} is installed"
    return ""


def find_packages(name: str) -> list[str]:
    """Return the packages that the entry points of a distribution name; none if they cannot be read."""
    found = find_distribution(name)
    try:
        return sorted({point.module.partition(".")[0] for point in found.entry_points}) if found else []
    # Whatever the parser ran into: that the file is damaged is said already.
    except Exception:
        return []


def suggest_remedy(error: BaseException, plugin: str, name: str) -> str:
    """Return in one line what to do about an error in a plugin; ``name`` is its distribution."""
    repair = _suggest_repair(error, name)
    # The core is always in use.
    return repair if name == CORE else f"{repair}; or leave it out with ADCLI_DISABLE={plugin}"


def _suggest_repair(error: BaseException, name: str) -> str:
    found = find_distribution(name)
    if found is None:
        return "install it again"
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if find_conflict(name) or missing == "adcli":
        command = install_command(CORE, name, flags=["--upgrade"])
        return f"upgrade both, so that they fit together: {command}"
    if missing and missing not in find_packages(name):
        # Given a package that is installed, pip adds what it requires and lacks.
        return f"add what it requires: {install_command(name)}; or install the package that has '{missing}'"
    if name == CORE:
        return _REPORT
    folder, editable = find_checkout(name)
    if editable:
        return f"mend it in {folder}{_compare_python(found)}"
    if isinstance(error, SyntaxError) and error.filename and not _is_installed(error.filename, found):
        return f"mend {error.filename}{_compare_python(found)}"
    if missing or isinstance(error, SyntaxError):
        command = install_command(name, flags=["--force-reinstall", "--no-deps"])
        return f"its files are missing or damaged{_compare_python(found)}: {command}"
    return f"upgrade it: {install_command(name, flags=['--upgrade'])}; or tell its author"


def _is_installed(file: str, found: Distribution) -> bool:
    """Tell whether a file lies where an installer puts a distribution's code, and not in a folder of its author's."""
    return Path(str(found.locate_file(""))).resolve() in Path(file).resolve().parents


def _compare_python(found: Distribution) -> str:
    if "Requires-Python" not in found.metadata:
        return ""
    return f" (it needs Python {found.metadata['Requires-Python']}, this is {platform.python_version()})"
