"""Options that are given once for several models, or data sets: each takes those that it has."""

from collections.abc import Iterator, Mapping
from typing import Any

from adcli.errors import OptionError, suggest
from adcli.options import Options


def options_of(options: Mapping[str, Any], owner: str, declared: type[Options]) -> Iterator[tuple[str, Any]]:
    """Yield the options for one of them, without a name before the point: ``KEY`` if it has it, and ``OWNER.KEY``."""
    for name, value in options.items():
        before, _, key = name.rpartition(".")
        if before in ("", owner) and key in _names(declared):
            yield key, value


def refuse_unowned(options: Mapping[str, Any], owners: Mapping[str, type[Options]], what: str) -> None:
    """Refuse options that none of them has.

    Args:
        options: by name, ``KEY`` or ``OWNER.KEY``.
        owners: what each declares, by name.
        what: they are: ``"model"`` or ``"data set"``.

    Raises:
        OptionError: none has one of the options.
    """
    for name in options:
        before, _, key = name.rpartition(".")
        if before and before not in owners:
            raise OptionError(f"is for the {what} '{before}', and there are {', '.join(owners)}.", option=name)
        known = {field for owner in ([before] if before else owners) for field in _names(owners[owner])}
        if key not in known:
            listed = before or ", ".join(owners)
            raise OptionError(f"is no option of the {what} {listed}.{suggest(key, known)}", option=name)


def _names(declared: type[Options]) -> set[str]:
    return {info.name for info in declared.describe()}
