"""Sweeps in a file: grids, and in a recipe also what a paper published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from adcli._artefacts.declaring import Share, compare
from adcli._artefacts.parsing import LARGEST_YAML, parse_yaml
from adcli.errors import OptionError, one_line
from adcli.runs.settings import NOT_SETTINGS

METRIC, VALUE, TOLERANCE = "metric", "value", "tolerance"


@dataclass(frozen=True)
class Published:
    """A value that was published.

    Attributes:
        where: factors of the runs that it is of; ``category: mean`` is the mean over all categories.
        metric: such as ``image.auroc``.
        value: of it.
        tolerance: how far off a run may be; None if the source does not say.
    """

    where: Mapping[str, Any]
    metric: str
    value: float
    tolerance: float | None = None


@dataclass(frozen=True)
class SweepFile:
    """What a file of a sweep holds.

    Attributes:
        grids: each with names of settings and their values.
        about: what it is, a line.
        ran: whether it was ever run, and what came out.
        source: of the published values.
        published: values of a paper.
    """

    grids: Sequence[Mapping[str, Any]]
    about: str = ""
    ran: str = ""
    source: str = ""
    published: Sequence[Published] = field(default=())


class _Published(TypedDict):
    source: str
    values: list[dict[str, Any]]


class _File(TypedDict, total=False):
    about: str
    ran: str
    grids: list[dict[str, Any]]
    published: _Published


_NOTHING: _Published = {"source": "", "values": []}


def read_sweep_file(path: Path) -> SweepFile:
    """Read grids: a list under ``grids``, or one whose settings stand alone, such as a ``run.yaml``.

    Raises:
        OptionError: the file cannot be read, or holds none.
    """
    content = _load(path)
    if "grids" not in content:
        return SweepFile([{name: value for name, value in content.items() if name not in NOT_SETTINGS}])
    unknown = [name for name in content if name not in _File.__annotations__]
    if unknown:
        raise _wrong(path, f"'{one_line(unknown[0])[:60]}' is not known; settings stand in the grids")
    try:
        known = compare(content, _File)
        published = known.get("published", _NOTHING)
        values = [_read_published(value) for value in published["values"]]
    except ValueError as error:
        raise _wrong(path, str(error)) from None
    if not known["grids"]:
        raise _wrong(path, "has no grids")
    return SweepFile(known["grids"], known.get("about", ""), known.get("ran", ""), published["source"], values)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            loaded = parse_yaml(file.read(LARGEST_YAML + 1).decode("utf-8-sig"))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise _wrong(path, f"not valid YAML ({one_line(str(error))})") from None
    if not isinstance(loaded, dict):
        raise _wrong(path, "holds no settings; write them as 'name: value'")
    return loaded


def _wrong(path: Path, what: str) -> OptionError:
    return OptionError(f"{path}: {what}.")


def _read_published(value: Mapping[str, Any]) -> Published:
    metric = value.get(METRIC)
    if not isinstance(metric, str):
        raise ValueError("published.values: one has no metric")
    number = _read_share(value, VALUE)
    tolerance = None if value.get(TOLERANCE) is None else _read_share(value, TOLERANCE)
    where = {name: each for name, each in value.items() if name not in (METRIC, VALUE, TOLERANCE)}
    return Published(where, metric, number, tolerance)


def _read_share(value: Mapping[str, Any], name: str) -> float:
    try:
        return compare(value.get(name), Share)
    except ValueError as error:
        raise ValueError(f"published.values: the {name} of {value[METRIC]}: {error}") from None
