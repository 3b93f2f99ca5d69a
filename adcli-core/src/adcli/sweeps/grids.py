"""A grid: lists of values for settings of a training, and the runs that they stand for, one for each combination."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adcli._files import exists
from adcli._plugins.registry import registry
from adcli.data.references import with_absolute_paths
from adcli.errors import OptionError, one_line, suggest
from adcli.options import Options, spell_list, takes_list, validate
from adcli.runs.settings import FIELDS, TrainSettings, anchor_paths
from adcli.specs import ModelSpec
from adcli.sweeps.cells import NAMED, OPTION, Cell, Factor, name_cell
from adcli.sweeps.data import FoundData
from adcli.sweeps.owned import options_of, refuse_unowned

SPLIT = ("model", "data", "seed", "image_size", "backbone", "shots")
"""What commas separate values of; all else may hold commas itself."""

_DICTS = ("options", "data_options")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST = 100_000
"""Runs of a sweep, at most."""

Values = Sequence[Any]


@dataclass(frozen=True)
class Override:
    """Settings for some of the runs of a grid.

    Attributes:
        where: values of factors, a list for each, which a run has all of.
        settings: what those runs have instead; ``options`` are added to theirs.
    """

    where: Mapping[str, Values]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """Values of settings, each combination of which is a run.

    Attributes:
        axes: of settings of ``adcli train``, by name: the values that each takes.
        options: likewise of the models' options; ``MODEL.KEY`` is for that model alone.
        data_options: options of the data sets, one value each; ``NAME.KEY`` is for that data set alone.
        skip: which combinations are no runs.
        overrides: what some of the runs have instead.
    """

    axes: Mapping[str, Values]
    options: Mapping[str, Values] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    skip: Sequence[Mapping[str, Values]] = ()
    overrides: Sequence[Override] = ()


def parse_grid(values: Mapping[str, Any]) -> Grid:
    """Return the grid that names and values stand for, as the command line or a file has them.

    Args:
        values: of settings; a list is several values, and so is a text with commas for one of :data:`SPLIT`. Of
            ``options``, a list is several values, unless the option takes a list, of which a list of lists is several.
            ``skip`` and ``set`` as of :class:`Grid`.

    Raises:
        OptionError: a name is no setting's, or a value does not fit.
    """
    for name in values:
        known = (*FIELDS, "backbone", "skip", "set")
        if name not in known:
            raise OptionError(f"is not a setting.{suggest(name, known)}", option=one_line(name)[:60])
    axes = {name: _read_axis(name, value) for name, value in values.items() if name in FIELDS and name not in _DICTS}
    options = {**_read_mapping(values, "options")}
    if "backbone" in values:
        if "backbone" in options:
            raise OptionError("is given as an option, too; give one of them.", option="backbone")
        options["backbone"] = _read_axis("backbone", values["backbone"])
    return Grid(
        axes=axes,
        options=options,
        data_options=_read_mapping(values, "data_options"),
        skip=[_read_where(entry, "skip") for entry in _read_list(values, "skip")],
        overrides=[_read_override(entry) for entry in _read_list(values, "set")],
    )


def _read_axis(name: str, value: Any) -> list[Any]:
    listed = value if isinstance(value, (list, tuple, range)) else [value]
    if name in SPLIT:
        listed = [piece for each in listed for piece in _split(name, each)]
    if not listed or "" in listed:
        raise OptionError("has a value that is empty; give one or more.", option=name)
    nested = next((value for value in listed if isinstance(value, (list, tuple, Mapping))), None)
    if nested is not None:
        raise OptionError(
            f"has the value {one_line(str(nested))[:60]}, which is several; give plain ones.", option=name
        )
    if name == "data":
        listed = [validate(TrainSettings, name, value) for value in listed]
    if name == "image_size":
        listed = list(map(_spell_size, listed))
    return list(dict.fromkeys(listed))


def _spell_size(value: Any) -> Any:
    """Return a size so that what is the same one is spelt alike: ``256x256`` is ``256``."""
    found = re.fullmatch(r"0*(\d+)(?:x0*\1)?", str(value).strip(), re.ASCII | re.IGNORECASE)
    return found[1] if found else value


def _split(name: str, value: Any) -> list[Any]:
    """Return the values that commas separate, and numbers as ``0..4`` has them."""
    if not isinstance(value, str):
        return [value]
    if name == "data":
        return split_references(value)
    pieces = [piece.strip() for piece in value.split(",")]
    if name == "shots":
        return [None if piece == "all" else found for piece in pieces for found in _count(name, piece)]
    return [found for piece in pieces for found in (_count(name, piece) if name == "seed" else [piece])]


def _count(name: str, piece: str) -> list[Any]:
    found = _RANGE.fullmatch(piece)
    if not found:
        return [piece]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < _MOST:
        raise OptionError(f"'{piece}': the second number must be the larger one, by less than {_MOST}.", option=name)
    return list(range(first, last + 1))


def split_references(text: str) -> list[str]:
    """Return the references that commas separate: those of categories of one data set stay together.

    ``mvtec_ad:bottle,cable,photos`` is two categories of ``mvtec_ad``, and ``photos``.
    """
    if exists(text):
        return [text]
    references: list[str] = []
    categories: Sequence[str] = ()
    for piece in (piece.strip() for piece in text.split(",")):
        if piece in categories:
            references[-1] += f",{piece}"
            continue
        name, colon, _ = piece.partition(":")
        provided = registry().datasets.get(name) if colon and not exists(piece) else None
        categories = provided.spec.categories if provided else ()
        references.append(piece)
    return references


def _read_mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name) or {}
    if not isinstance(found, Mapping):
        raise OptionError("must be names and values.", option=name)
    return found


def _read_list(values: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = values.get(name) or []
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(entry, Mapping) and entry for entry in listed):
        raise OptionError("must be a list of names and values.", option=name)
    return listed


def _read_where(entry: Mapping[str, Any], option: str) -> Mapping[str, Values]:
    known = [*NAMED, *FIELDS, "backbone"]
    for name in entry:
        if name not in known and not name.startswith(OPTION):
            raise OptionError(f"'{name}' is no factor.{suggest(name, known)}", option=option)
    # A list in a list is one value of an option that takes a list.
    return {
        name: _read_axis(name, [_show(each) for each in value] if isinstance(value, list) else value)
        for name, value in entry.items()
    }


def _read_override(entry: Mapping[str, Any]) -> Override:
    where = entry.get("where")
    if not isinstance(where, Mapping) or not where:
        raise OptionError("needs 'where', with values of factors that runs have.", option="set")
    settings = {name: value for name, value in entry.items() if name != "where"}
    for name in settings:
        if name not in FIELDS or name in (*NAMED, "data_options"):
            raise OptionError(f"'{name}' cannot be set for some of the runs.", option="set")
    if not isinstance(settings.get("options", {}), Mapping):
        raise OptionError("has options that are no names and values.", option="set")
    return Override(_read_where(where, "set"), settings)


def expand(grid: Grid, data: Sequence[FoundData], note: Callable[[str], None] = lambda text: None) -> list[Cell]:
    """Return the runs of a grid: of one seed all, before those of the next.

    Args:
        grid: of which runs.
        data: what its references stand for, as :func:`adcli.sweeps.data.find_data` found it.
        note: is told which ``skip`` and ``set`` match no run.

    Raises:
        OptionError: a value does not fit, an option is no model's, or there are too many runs.
    """
    models = [_find_model(str(name)) for name in grid.axes.get("model", ())]
    if not models:
        raise OptionError("must be given; 'adcli models' lists what can be trained.", option="--model")
    refuse_unowned(grid.options, {spec.name: spec.options for spec in models}, "model")
    others = {name: values for name, values in grid.axes.items() if name not in ("model", "data", "seed")}
    cells: dict[str, Cell] = {}
    unmet = [*(("skip", where) for where in grid.skip), *(("set", override.where) for override in grid.overrides)]
    for seed in grid.axes.get("seed", [FIELDS["seed"].default]):
        for found, spec in itertools.product(data, models):
            for cell in _combine(grid, found, spec, {"seed": seed}, others, unmet):
                cells.setdefault(cell.name, cell)
                if len(cells) > _MOST:
                    raise OptionError(f"more than {_MOST} runs; give fewer values.")
    for option, where in unmet:
        told = ", ".join(f"{name}: {' or '.join(map(str, values))}" for name, values in where.items())
        note(one_line(f"{option}: no run has {told}"))
    return list(cells.values())


def _combine(
    grid: Grid,
    found: FoundData,
    spec: ModelSpec,
    given: Mapping[str, Any],
    others: Mapping[str, Values],
    unmet: list[tuple[str, Mapping[str, Values]]],
) -> Iterator[Cell]:
    """Yield the runs of one model on one data set with one seed."""
    axes = {
        name: _list_values(spec.options, name, values)
        for name, values in options_of(grid.options, spec.name, spec.options)
    }
    for settings in _product(others):
        for options in _product(axes):
            factors = {
                **{"model": spec.name, "data": found.name, "category": found.category, **given, **settings},
                **{name if name == "backbone" else f"{OPTION}{name}": value for name, value in options.items()},
            }
            shown = {name: _show(value) for name, value in factors.items()}
            unmet[:] = [entry for entry in unmet if not _matches(shown, entry[1])]
            if any(_matches(shown, where) for where in grid.skip):
                continue
            changes: dict[str, Any] = {}
            for override in grid.overrides:
                if _matches(shown, override.where):
                    changes |= {name: value for name, value in override.settings.items() if name != "options"}
                    options = {**options, **override.settings.get("options", {})}
            yield _make(found, spec, {**given, **settings, **changes}, options, shown)


def _make(
    found: FoundData, spec: ModelSpec, settings: Mapping[str, Any], options: Mapping[str, Any], shown: dict[str, Factor]
) -> Cell:
    parsed = with_absolute_paths(spec.options.parse(options)).to_dict()
    made = anchor_paths(
        TrainSettings(
            **{**settings, "model": spec.name, "data": found.reference},
            data_options=dict(found.options),
            options={name: parsed[name] for name in options},
        )
    )
    for name in ("seed", "shots"):
        if name in shown:
            shown[name] = getattr(made, name)
    return Cell(name_cell(made), shown, made)


def _product(axes: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _find_model(name: str) -> ModelSpec:
    known = registry().models
    provided = known.get(name)
    if provided is None:
        raise OptionError(known.explain_unknown(name), option="--model")
    return provided.spec


def _list_values(options: type[Options], name: str, value: Any) -> list[Any]:
    """Return the values of an option: if it takes a list itself, a list of plain values is one."""
    if isinstance(value, (list, tuple)) and value:
        is_one = takes_list(options, name) and not any(isinstance(each, (list, tuple, str)) for each in value)
        listed = [value] if is_one else list(value)
    else:
        listed = [value]
    return [validate(options, name, each) for each in listed]


def _show(value: Any) -> Factor:
    if isinstance(value, (tuple, list)):
        return spell_list(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _matches(factors: Mapping[str, Factor], where: Mapping[str, Values]) -> bool:
    """Tell whether a run has one of the values of each factor."""
    return all(str(factors.get(name)) in [str(_show(value)) for value in values] for name, values in where.items())
