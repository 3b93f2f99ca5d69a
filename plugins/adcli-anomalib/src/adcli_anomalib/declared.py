"""An options class from the signature of one of anomalib's models, read and not imported.

To import anomalib takes six seconds, and ``adcli models`` shall not wait for it. So a constructor is found in the text
of its module, and its annotations and defaults are read from there.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

from adcli import Options, option
from adcli_anomalib.known import Known

_SIMPLE: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Path": Path}
_SEVERAL = ("Sequence", "list", "tuple")
_NOT_OPTIONS = ("self", "pre_processor", "post_processor", "evaluator", "visualizer", "input_shape", "image_size")
"""What adcli does itself, and the sizes, which are those of ``--image-size``."""

_UNKNOWN = object()
"""A default that is no literal."""


class PeerOptions(Options):
    """Options of every model of anomalib, beside its own.

    Attributes:
        peer: the names of its module and its class.
    """

    peer = ("", "")

    weights: Path | None = option(None, "Local file with the backbone's weights (.safetensors, or a checkpoint).")
    pre_trained: bool = option(True, "Start from pretrained weights; false draws random ones.")


def declare_options(model: str, peer: str, source: str, known: Known) -> type[PeerOptions]:
    """Return the options class of a model.

    Args:
        model, peer: the names of its module and its class.
        source: the text of the class, from its first line on.
        known: when its training ends, by default.
    """
    fields: dict[str, tuple[Any, Any]] = {}
    helps = _read_helps(source)
    for name, annotation, default in _read_signature(source):
        declared = _declare(annotation, default, helps.get(name, ""))
        if declared and name not in _NOT_OPTIONS:
            fields[name] = declared
    if "def training_step(" in source and "MemoryBankMixin" not in source[: source.index(":")]:
        fields |= {
            "epochs": (
                int | None,
                option(known.epochs, "Passes over the images; none for as many as steps take.", ge=1),
            ),
            "steps": (int | None, option(known.steps, "Steps to stop after; none for all of the epochs.", ge=1)),
        }
    namespace = {name: declared for name, (_, declared) in fields.items()}
    annotations = {name: kind for name, (kind, _) in fields.items()}
    # Of a class without a docstring, a dataclass writes the signature into one, which takes longer than all the rest.
    names = {"__module__": "adcli_anomalib.listing", "__doc__": f"Options of {peer}.", "__annotations__": annotations}
    return type(f"{peer}Options", (PeerOptions,), {**namespace, **names, "peer": (model, peer)})


def _read_signature(source: str) -> list[tuple[str, ast.expr | None, Any]]:
    """Return name, annotation and default of each argument of a class's constructor."""
    found = re.search(r"^    def __init__\(.*?\) -> None:", source, re.DOTALL | re.MULTILINE)
    if not found:
        return []
    (function,) = ast.parse(textwrap.dedent(found[0]) + " ...").body
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args.args
    defaults = [_UNKNOWN] * (len(arguments) - len(function.args.defaults)) + list(map(_read, function.args.defaults))
    return [(each.arg, each.annotation, default) for each, default in zip(arguments, defaults, strict=True)]


def _read(expression: ast.expr) -> Any:
    try:
        value = ast.literal_eval(expression)
    except ValueError:
        return _UNKNOWN
    return tuple(value) if isinstance(value, list) else value


def _declare(annotation: ast.expr | None, default: Any, help: str) -> tuple[Any, Any] | None:
    """Return an argument's type and declaration as an option; None if no command line can give it."""
    kinds = [_read_type(part, default) for part in _list_alternatives(annotation)]
    found = [kind for kind in kinds if kind not in (None, type(None))]
    if not found:
        return None
    # Of several, the one in which the others can be written.
    kind = next((kind for kind in found if kind is Path or kind not in _SIMPLE.values()), found[0])
    kind = str if str in found and kind is not Path and kind in _SIMPLE.values() else kind
    if default is None or default is _UNKNOWN:
        return kind | None, option(None, help or "None for anomalib's own.")
    if kind is Path:
        default = Path(default)
    elif kind not in _SIMPLE.values() and not isinstance(default, tuple):
        default = (default,)
    return kind, option(default, help or "See anomalib.")


def _list_alternatives(annotation: ast.expr | None) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        return _list_alternatives(annotation.left) + _list_alternatives(annotation.right)
    return [annotation] if annotation is not None else []


def _read_type(annotation: ast.expr, default: Any) -> Any:
    """Return the type of an option for one alternative of an annotation; None if there is none."""
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return type(None)
    name = ast.unparse(annotation)
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name == "tuple" and isinstance(default, tuple) and default:
        return tuple[type(default[0]), ...]  # type: ignore[misc]
    if isinstance(annotation, ast.Subscript) and name.partition("[")[0] in _SEVERAL:
        inner = annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
        kind = _SIMPLE.get(ast.unparse(inner))
        return tuple[kind, ...] if kind else None  # type: ignore[valid-type]
    # An enumeration or a literal, whose values are texts.
    return str if isinstance(annotation, (ast.Name, ast.Attribute)) else None


def _read_helps(source: str) -> dict[str, str]:
    """Return the first sentence that a class's docstring says of each argument."""
    block = re.search(r"^    Args:\n((?:        .*\n|\n)+)", source, re.MULTILINE)
    entries = re.findall(
        r"^        (\w+)(?: \([^\n]*\))?:((?:.*\n)(?:            .*\n|\n)*)", block[1] if block else "", re.MULTILINE
    )
    return {name: _first_sentence(text) for name, text in entries}


def _first_sentence(text: str) -> str:
    words = " ".join(text.replace("`", "").split())
    return re.split(r"(?<=[.])\s", words, maxsplit=1)[0]
