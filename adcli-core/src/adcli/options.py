"""Declare, parse, validate and describe the options of models, data sets, backbones and exporters.

An options class is a frozen dataclass. Its annotations and the bounds given to :func:`option` are the whole
declaration; the same object serves the command line (strings), config files (YAML values) and Python callers.
"""

import dataclasses
import functools
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from adcli._showing import cut
from adcli.errors import OptionError, one_line, suggest

Layers = tuple[int, ...] | tuple[tuple[int, ...], ...]
"""Layers of a backbone, as ``2,3``; or a list for each of several that are joined, as ``2,3+3,5``."""

_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (lambda value, bound: value > bound, "greater than"),
    "ge": (lambda value, bound: value >= bound, "at least"),
    "lt": (lambda value, bound: value < bound, "less than"),
    "le": (lambda value, bound: value <= bound, "at most"),
}
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def option(
    default: Any,
    help: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> Any:
    """Declare one option of an :class:`Options` class.

    Args:
        default: used if the user gives no value; it must satisfy the annotation and the bounds itself.
        help: one sentence for ``adcli models show``.
        gt, ge, lt, le: bounds of a number, or of each number of a tuple.
    """
    return declare(default, help, gt=gt, ge=ge, lt=lt, le=le)


def declare(default: Any, help: str, group: str = "", metavar: str = "", **metadata: Any) -> Any:
    """Declare one field of an :class:`Options` class, with all that the command line may want to know of it.

    Args:
        default: ``dataclasses.MISSING`` if a value must be given.
        help: one sentence.
        group, metavar: the section that lists it in ``--help``, and what stands there for its value.
        metadata: ``gt``, ``ge``, ``lt``, ``le``, as of :func:`option`; ``check``, which is called with a value that is
            not None, and raises :class:`OptionError` if it cannot be used; and what else a reader of it asks for.
    """
    metadata["bounds"] = {name: bound for name in _BOUNDS if (bound := metadata.pop(name, None)) is not None}
    metadata |= {"help": help, "group": group, "metavar": metavar}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def validate(cls: "type[Options]", name: str, value: Any) -> Any:
    """Return a value as the declaration of an option wants it; strings are read as on the command line.

    Raises:
        OptionError: it does not fit the annotation, the bounds or the check.
    """
    annotation, metadata = _hints(cls)[name], cls.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    try:
        read = _convert(value, annotation)
        _check_bounds(read, metadata.get("bounds", {}))
        if read is not None and "check" in metadata:
            metadata["check"](read)
    except OptionError as error:
        error.option = error.option or name
        raise
    except (TypeError, ValueError):
        words = f"must be {_words(annotation)}, not {one_line(repr(value))}."
        raise OptionError(words, option=name) from None
    return read


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


class OptionInfo(NamedTuple):
    """What ``adcli models show`` prints about one option."""

    name: str
    type: str
    default: Any
    allowed: str
    help: str


@typing.dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(option, declare, dataclasses.field)
)
class Options:
    """Base of all options: subclasses are frozen, keyword-only dataclasses without a decorator.

    Raises :class:`OptionError` when a value does not fit its annotation or bounds.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # What every class has alike stands below once: to have it made for each takes longer than the rest of a plugin.
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)(cls)

    def __post_init__(self) -> None:
        for field in _fields(type(self)):
            object.__setattr__(self, field.name, validate(type(self), field.name, getattr(self, field.name)))

    def __repr__(self) -> str:
        """Return the options that are not as by default, in a line."""
        values = ((field, getattr(self, field.name)) for field in _fields(type(self)))
        told = ", ".join(f"{field.name}={value!r}" for field, value in values if value != _default(field))
        return cut(f"{type(self).__name__}({told})")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Make the options from names and values, which may be strings.

        Raises:
            OptionError: a name is unknown, a value does not fit, or one that must be given is missing.
        """
        known = [field.name for field in _fields(cls)]
        for name in values:
            if name not in known:
                raise OptionError(f"is not an option.{suggest(name, known)}", option=name)
        for field in _fields(cls):
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and field.name not in values:
                raise OptionError("must be given.", option=field.name)
        return cls(**values)

    @classmethod
    def describe(cls) -> list[OptionInfo]:
        """Return every option with its type, default, allowed values and help."""
        return [
            OptionInfo(
                field.name,
                _type_name(_hints(cls)[field.name]),
                field.default,
                _allowed(_hints(cls)[field.name], field.metadata.get("bounds", {})),
                field.metadata.get("help", ""),
            )
            for field in _fields(cls)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return names and values as YAML and JSON can hold them; :meth:`parse` reads them back."""
        return {field.name: _plain(getattr(self, field.name)) for field in _fields(type(self))}


class BackboneOptions(Options):
    """Options of every model that looks at images through a pretrained backbone."""

    backbone: str = option(
        "timm:resnet18.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a name of a plugin's; A+B joins two."
    )
    layers: Layers = option(
        (1, 2, 3),
        "Feature maps to use, counted from 1; of most networks 1 to 4 have strides 4, 8, 16 and 32; of A+B 2,3+3,5.",
        ge=1,
    )
    norm: bool = option(False, "Apply a transformer's final norm to its maps; by default if layers are not given.")
    average: int = option(1, "Average so many layers at a time into one map, such as blocks of a transformer.", ge=1)
    weights: Path | None = option(None, "Local file with the backbone's weights (.safetensors, or a checkpoint).")


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


_hints: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)
"""Returns the annotations of a class; to resolve them for each option takes most of the time of reading a run."""


def takes_list(cls: type[Options], name: str) -> bool:
    """Tell whether an option takes several values, such as ``layers``."""
    annotation = _hints(cls)[name]
    return annotation == Layers or get_origin(annotation) is tuple


def _convert(value: Any, annotation: Any) -> Any:
    """Return the value as the annotation wants it; raises ValueError or TypeError if it does not fit."""
    if annotation == Layers:
        return _read_layers(value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _convert(value, inner)
    if origin is tuple:
        return tuple(_convert(part, arguments[0]) for part in _split(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError
        return dict(value)
    if origin is Literal:
        return arguments[[str(choice) for choice in arguments].index(str(value))]
    return _read_scalar(value, annotation)


def _split(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _read_layers(value: Any) -> Layers:
    """Return layers of one backbone, or, from a text with ``+`` or a list of lists, a tuple for each of several."""
    parts = value.split("+") if isinstance(value, str) and "+" in value else value
    several = parts is not value or (isinstance(parts, (list, tuple)) and any(map(_is_list, parts)))
    return tuple(map(_read_list, parts)) if several else _read_list(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _read_list(value: Any) -> tuple[int, ...]:
    return tuple(_read_scalar(part, int) for part in _split(value))


def spell_list(value: Sequence[Any]) -> str:
    """Return several values as an option takes them: ``2,3``, or ``2,3+3,5``."""
    if any(map(_is_list, value)):
        return "+".join(spell_list(part) for part in value)
    return ",".join(map(str, value))


def _read_scalar(value: Any, kind: Callable[[Any], Any]) -> Any:
    if kind is bool:
        value = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
        if isinstance(value, bool):
            return value
        raise ValueError
    # Whatever there is can be made a text, a list as well.
    single = isinstance(value, (str, int, float, os.PathLike)) and not isinstance(value, bool)
    if not single or (kind is int and isinstance(value, float)):
        raise ValueError
    return kind(value)


def _check_bounds(value: Any, bounds: Mapping[str, float]) -> None:
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, tuple):
            _check_bounds(part, bounds)
            continue
        for key, bound in bounds.items():
            holds, words = _BOUNDS[key]
            # A comparison with NaN is false, so NaN is refused here as well.
            if part is not None and not holds(part, bound):
                raise OptionError(f"must be {words} {bound}, not {part}.")


def _words(annotation: Any) -> str:
    """Return what a value must be, as a message says it."""
    if annotation == Layers:
        return "integers separated by commas, a list for each backbone of A+B: 2,3+3,5"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join([*(_words(argument) for argument in arguments if argument is not type(None)), "none"])
    if origin is Literal:
        return list_choices(arguments)
    if origin is tuple:
        return f"{_type_name(arguments[0])}s separated by commas"
    name = _type_name(annotation)
    return {"integer": "an integer", "number": "a number", "path": "a path"}.get(name, name)


def list_choices(choices: Sequence[Any]) -> str:
    """Return ``"a, b or c"``."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def _type_name(annotation: Any) -> str:
    if annotation == Layers:
        return "integer, ..."
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = [_type_name(argument) for argument in arguments if argument is not type(None)]
        return " or ".join([*inner, "none"])
    if origin is tuple:
        return f"{_type_name(arguments[0])}, ..."
    if origin is Literal:
        return "choice"
    names: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _allowed(annotation: Any, bounds: Mapping[str, float]) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return ", ".join(f"{signs[key]} {bound}" for key, bound in bounds.items())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return spell_list(value) if any(map(_is_list, value)) else [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return str(value) if isinstance(value, Path) else value
