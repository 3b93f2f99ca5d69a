"""The data that settings name: loading it, checking it, knowing it again. Nothing here imports torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from adcli import _system
from adcli._files import check_reachable, exists
from adcli._plugins.builtin import SplitOptions
from adcli._plugins.registry import Provided, registry
from adcli.data.part_rule import assign_parts, check_pattern
from adcli.data.samples import Splits
from adcli.errors import DataError, OptionError, PluginError, suggest
from adcli.options import Options
from adcli.specs import DatasetSpec

OptionsT = TypeVar("OptionsT", bound=Options)

TABLE = "table:"
"""What a reference to a table begins with."""


@dataclass(frozen=True)
class Data:
    """A data set and how it is named in the run.

    Attributes:
        reference: what to give to ``--data`` to have it again, from any folder; None for the demo data.
        name: a short name for the run's folder.
        splits: its samples.
        options: the options that were given, paths among them absolute, as plain values.
    """

    reference: str | None
    name: str
    splits: Splits
    options: Mapping[str, Any]


LEAST_SHARE = 1e-12
"""A share of the good images for testing that is none of them; a share of 0 is no option's value."""


def load_data(reference: str | None, options: dict[str, Any], *, all_good: bool = False, part: str = "") -> Data:
    """Load what ``--data`` names: a folder, ``table:FILE``, ``NAME[:CATEGORY]``, or the demo data for None.

    Args:
        reference: what ``--data`` names.
        options: of the data set.
        all_good: draw no good images for testing, if that is left to the reader; what the data say themselves stays.
        part: a regular expression that finds the part that an image shows in its name; see :class:`PartRule`.

    Raises:
        DataError: no such folder or data set, or it cannot be used.
        OptionError: several categories.
    """
    if reference == "":
        raise DataError("--data is empty; give a folder, a table or the name of a data set.")
    if reference is not None and reference.startswith(TABLE) and reference != TABLE:
        _refuse_foreign(reference.removeprefix(TABLE))
        file = make_absolute(reference.removeprefix(TABLE))
        return _load(f"{TABLE}{file}", file.stem, "table", None, options, {"file": file}, all_good, part)
    if reference is not None:
        check_reachable(reference, DataError)
    if reference is not None and (exists(reference) or _looks_like_path(reference)):
        _refuse_foreign(reference)
        folder = make_absolute(reference)
        return _load(str(folder), folder.name, "folder", None, options, {"root": folder}, all_good, part)
    name, _, category = (reference or "demo").partition(":")
    known = registry().datasets
    provided = known.get(name)
    if provided is None:
        raise DataError(f"--data {reference}: there is no such folder; {known.explain_unknown(name)}")
    several = several_categories(reference)
    if several is not None and not several.every:
        raise OptionError(
            f"--data {reference}: several categories, which 'adcli train' alone takes; name one, such as "
            f"--data {several.reference(several.names[0])}."
        )
    return _load(reference, category or provided.spec.name, name, category or None, options, {}, all_good, part)


@dataclass(frozen=True)
class Categories:
    """Several categories of a data set.

    Attributes:
        dataset: the data set's name, as it was given.
        names: the categories, without any twice.
        every: whether all were asked for, rather than these by name.
    """

    dataset: str
    names: Sequence[str]
    every: bool

    def reference(self, category: str) -> str:
        """Return what names one of them."""
        return f"{self.dataset}:{category}"


def several_categories(reference: str | None) -> Categories | None:
    """Return the categories that ``NAME`` of a data set with several, or ``NAME:CATEGORY,...``, stands for.

    None for all else, which :func:`load_data` takes.

    Raises:
        OptionError: the data set has no such category.
    """
    if reference is None or exists(reference) or _looks_like_path(reference):
        return None
    dataset, _, given = reference.partition(":")
    provided = registry().datasets.get(dataset)
    known = provided.spec.categories if provided is not None else ()
    if len(known) < 2 or given in known:
        return None
    if not given:
        return Categories(dataset, known, every=True)
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if "," not in given or not names:
        return None
    for name in names:
        if name not in known:
            raise OptionError(f"--data {reference}: '{dataset}' has no category '{name}'.{suggest(name, known)}")
    return Categories(dataset, names, every=False)


def make_absolute(path: str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - unlike resolve(), it keeps links, and drops ".."


def _refuse_foreign(path: str) -> None:
    """Raise an error for a path of Windows elsewhere, which a run that was made there has."""
    if not (_system.WINDOWS or exists(path)) and PureWindowsPath(path).drive:
        raise DataError(f"{path}: is a path of Windows; give where the data are here with --data.")


def _looks_like_path(reference: str) -> bool:
    return (
        reference.startswith((".", "~"))
        or "\\" in reference
        or reference.endswith("/")
        or Path(reference).is_absolute()
    )


def with_absolute_paths(options: OptionsT) -> OptionsT:
    """Return options whose paths are absolute, so that they mean the same from any folder; ``~`` is the user's home."""
    return type(options).parse({name: _anchored(getattr(options, name)) for name in options.to_dict()})


def _anchored(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_anchored, value))
    return make_absolute(os.path.expanduser(value)) if isinstance(value, Path) else value  # noqa: PTH111


def _load(
    reference: str | None,
    label: str,
    name: str,
    category: str | None,
    given: Mapping[str, Any],
    implied: Mapping[str, Any],
    all_good: bool,
    part: str,
) -> Data:
    """Load a data set with the options that were given, and those that its reference implies."""
    provided = registry().datasets[name]
    if part and issubclass(provided.spec.options, SplitOptions):
        implied = {**implied, "part": part}
    if all_good and hasattr(provided.spec.options, "test_share"):
        implied = {**implied, "test_share": LEAST_SHARE}
    parsed = with_absolute_paths(provided.spec.options.parse({**implied, **given}))
    plain = parsed.to_dict()
    pattern = part or (parsed.part if isinstance(parsed, SplitOptions) else "")
    splits = assign_parts(_read(provided, parsed, category), check_pattern(pattern) if pattern else "")
    return Data(reference, label, splits, {key: plain[key] for key in given})


def _read(provided: Provided[DatasetSpec], parsed: Options, category: str | None) -> Splits:
    load = provided.load(provided.spec.target)
    name = provided.spec.name

    def read() -> Any:
        try:
            return load(parsed, category)
        except OSError as error:
            raise DataError(f"data set '{name}': {error.filename or 'it'} cannot be read ({error.strerror}).") from None

    splits = provided.guard("it cannot be read", read)
    if not isinstance(splits, Splits):
        raise PluginError(f"data set '{name}' of {provided.plugin} returned {type(splits).__name__} instead of Splits.")
    return splits
