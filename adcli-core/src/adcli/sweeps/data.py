"""What the references of a sweep stand for: each data set, or category of one, found before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adcli._plugins.registry import registry
from adcli.data.references import TABLE, Data, load_data, several_categories, with_absolute_paths
from adcli.errors import DataError, MissingCategoryError
from adcli.sweeps.owned import options_of, refuse_unowned


@dataclass(frozen=True)
class FoundData:
    """A data set, or a category of one.

    Attributes:
        name: of the data set, or of the folder.
        category: one of its categories; empty without any.
        reference: what to give to ``--data``, the same from any folder; None for the demo data.
        options: of the data set, paths among them absolute.
    """

    name: str
    category: str
    reference: str | None
    options: Mapping[str, Any]


def find_data(
    references: Sequence[str | None], options: Mapping[str, Any], part: str, note: Callable[[str], None]
) -> list[FoundData]:
    """Return what references stand for; each category of a data set with several by itself.

    Of all categories of a data set, those that are not there are left out, with a note; those that are named have to
    be there.

    Args:
        references: as ``--data`` takes them, or None for the demo data.
        options: of data sets; ``NAME.KEY`` is for that data set alone.
        part: as of :func:`load_data`.
        note: is told which categories are left out.

    Raises:
        DataError: one cannot be read.
        OptionError: an option is no data set's.
    """
    kinds = [_name_kind(reference) for reference in references]
    refuse_unowned(options, {kind: registry().datasets[kind].spec.options for kind in kinds}, "data set")
    found: dict[tuple[str | None, str], FoundData] = {}
    for reference, kind in zip(references, kinds, strict=True):
        for each in _find_each(reference, _choose(options, kind), part, note):
            found.setdefault((each.reference, each.category), each)
    return list(found.values())


def _choose(options: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return dict(options_of(options, kind, registry().datasets[kind].spec.options))


def _find_each(
    reference: str | None, options: dict[str, Any], part: str, note: Callable[[str], None]
) -> list[FoundData]:
    asked = several_categories(reference)
    if asked is None:
        return [_describe(load_data(reference, options, part=part))]
    problems = {name: _find_problem(asked.reference(name), options, part) for name in asked.names}
    found = [problem for problem in problems.values() if problem]
    if len(found) == len(problems):
        raise min(found, key=lambda problem: isinstance(problem, MissingCategoryError))
    missing = {name: problem for name, problem in problems.items() if isinstance(problem, MissingCategoryError)}
    if missing and not asked.every:
        raise next(iter(missing.values()))
    names = [name for name in asked.names if name not in missing]
    if missing:
        note(
            f"{asked.dataset}: {len(names)} of {len(problems)} categories are there; not there, and left out: "
            f"{', '.join(missing)}"
        )
    anchored = with_absolute_paths(registry().datasets[asked.dataset].spec.options.parse(options)).to_dict()
    given = {name: anchored[name] for name in options}
    return [FoundData(asked.dataset, name, asked.reference(name), given) for name in names]


def _find_problem(reference: str, options: dict[str, Any], part: str) -> DataError | None:
    """Return why a category cannot be read; what is damaged fails in its own run."""
    try:
        load_data(reference, options, part=part)
    except DataError as error:
        return error
    return None


def _describe(data: Data) -> FoundData:
    name, colon, category = (data.reference or "demo").partition(":")
    if not colon or data.reference is None or name not in registry().datasets:
        return FoundData(data.name, "", data.reference, data.options)
    return FoundData(data.name if data.reference.startswith(TABLE) else name, category, data.reference, data.options)


def _name_kind(reference: str | None) -> str:
    """Return the data set that reads a reference: a folder is read by ``folder``."""
    name = (reference or "demo").partition(":")[0]
    if reference is not None and reference.startswith(TABLE):
        return "table"
    return name if name in registry().datasets else "folder"
