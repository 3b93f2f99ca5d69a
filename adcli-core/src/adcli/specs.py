"""What a plugin offers, as frozen data.

A spec only describes. Its ``target`` names the code as ``"package.module:Name"``, which is imported when it is used,
so a plugin can be listed and its options explained without importing torch.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, Literal, get_args

from adcli.options import Options

Task = Literal["segmentation", "classification"]
Updatable = Literal["no", "kept", "always"]

FALLBACK = "embedded"
"""The backbone with its own weights that every model can have."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that ``adcli train --model NAME`` can use.

    Attributes:
        name: what users type; lower case with underscores.
        target: a subclass of :class:`adcli.nn.model.Model`.
        options: its options class.
        summary: one line for ``adcli models``.
        task: ``"segmentation"`` (scores and anomaly maps) or ``"classification"`` (scores alone).
        paper: where the method is published.
        image_size: default height and width of its input, in pixels.
        one_pass: whether it fits in one pass over the images, so that k-fold calibration is affordable.
        updatable: whether it can learn more images after its fit, see :meth:`adcli.nn.model.Model.update`: ``"no"``;
            ``"kept"`` from what a run keeps with ``--updatable``; ``"always"`` from its weights alone.
        quick: options with which it fits a dozen small images in seconds, for the conformance checks.
        demo: options that suit the demo data; used only if ``--data`` is not given.
        demo_batch_size: batch size that suits the demo data; used in the same case.
        stand_in: backbone that takes the place of the default one if that one's weights cannot be had. If it is not
            installed, :data:`FALLBACK` does.
        learns_from_defects: whether it learns from known defects, if there are any among the training images.
    """

    name: str
    target: str
    options: type[Options]
    summary: str
    task: Task = "segmentation"
    paper: str = ""
    image_size: tuple[int, int] = (256, 256)
    one_pass: bool = False
    updatable: Updatable = "no"
    quick: Mapping[str, Any] = field(default_factory=dict)
    demo: Mapping[str, Any] = field(default_factory=dict)
    demo_batch_size: int | None = None
    stand_in: str = FALLBACK
    learns_from_defects: bool = False


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set that ``--data NAME[:CATEGORY]`` can name.

    Attributes:
        name: what users type.
        target: a function ``(options, category: str | None) -> Splits``.
        options: its options class (``-d key=value``).
        summary: one line for ``adcli datasets``.
        paper: where the data set is published.
        categories: its categories; empty if it has none.
        licence: the licence of its images.
        source: where to obtain it.
        layout: the files it is read from, drawn as a tree.
    """

    name: str
    target: str
    options: type[Options]
    summary: str
    paper: str = ""
    categories: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone that ``--backbone NAME`` can name.

    Attributes:
        name: what users type; or a prefix that takes the rest as an argument, for example ``timm:``.
        target: a function ``(argument, request: BackboneRequest) -> Backbone``; see :mod:`adcli.nn.backbones`.
        summary: one line for ``adcli backbones``.
        licence: the licence of its weights.
        layers: what its layers are, in a few words, for ``adcli backbones``.
    """

    name: str
    target: str
    summary: str
    licence: str = ""
    layers: str = ""


@dataclass(frozen=True, kw_only=True)
class ExporterSpec:
    """A format that ``adcli export --to NAME`` can write.

    Attributes:
        name: what users type.
        target: a function ``(source: ExportSource, folder, options) -> dict`` that writes the graph into a folder and
            returns facts for its manifest, plain values: ``name``, ``file`` (of the graph, relative to the folder),
            ``precision``, ``inputs``, ``outputs``, ``tolerance`` (largest score difference from the run, relative to
            the range of good scores), perhaps ``auroc_drop`` (see :class:`adcli.exports.agreement.Tolerance`), and
            any others. It may import torch. See :mod:`adcli.exports.export`.
        runtime: a function ``(export: Export) -> Runtime`` that loads what was written; it must not import torch.
        options: its options class.
        summary: one line for ``adcli exporters``.
        devices: what ``--device`` may name beside ``cpu``. If there are any, ``runtime`` is called with the device:
            ``(export: Export, device: str) -> Runtime``. What another device says is compared with the CPU first.
    """

    name: str
    target: str
    runtime: str
    options: type[Options]
    summary: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec:
    """What ``adcli sweep --executor NAME`` has its runs carried out by.

    Attributes:
        name: what users type.
        target: a function ``(tasks: Sequence[Task], request: ExecutorRequest) -> Iterator[TaskOutcome]`` that has
            :func:`adcli.pipeline.carry_out` called with each task, in whatever process on whatever machine, and yields
            what became of each as it is known, in any order. If the iterator is closed, what is under way is ended. It
            need not import torch.
        options: its options class.
        summary: one line for ``adcli executors``.
    """

    name: str
    target: str
    options: type[Options]
    summary: str


Spec = ModelSpec | DatasetSpec | BackboneSpec | ExporterSpec | ExecutorSpec

Kind = Literal["model", "dataset", "backbone", "exporter", "executor", "command"]
"""What a plugin can offer."""

KINDS: Mapping[type[Any], Kind] = {
    ModelSpec: "model",
    DatasetSpec: "dataset",
    BackboneSpec: "backbone",
    ExporterSpec: "exporter",
    ExecutorSpec: "executor",
}
"""The kind that each spec describes."""


def kind_in_words(kind: Kind) -> str:
    """Return what messages call a kind."""
    return "data set" if kind == "dataset" else kind


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_target(value: Any) -> bool:
    return _is_text(value) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value) is not None


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: _is_text(value) and re.fullmatch(r"\w[\w.+-]*:?", value) is not None, "one word"),
    "target": (_is_target, "'package.module:Name'"),
    "runtime": (_is_target, "'package.module:Name'"),
    "options": (lambda value: isinstance(value, type) and issubclass(value, Options), "a class derived from Options"),
    "summary": (_is_text, "text"),
    "paper": (_is_text, "text"),
    "licence": (_is_text, "text"),
    "source": (_is_text, "text"),
    "layout": (_is_text, "text"),
    "layers": (_is_text, "text"),
    "task": (lambda value: value in get_args(Task), " or ".join(get_args(Task))),
    "image_size": (_is_size, "height and width, a tuple of two integers"),
    "one_pass": (lambda value: isinstance(value, bool), "True or False"),
    "updatable": (lambda value: value in get_args(Updatable), " or ".join(get_args(Updatable))),
    "learns_from_defects": (lambda value: isinstance(value, bool), "True or False"),
    "quick": (_is_mapping, "a mapping of option names to values"),
    "demo": (_is_mapping, "a mapping of option names to values"),
    "demo_batch_size": (lambda value: value is None or (type(value) is int and value > 0), "an integer or None"),
    "stand_in": (_is_text, "text"),
    "devices": (lambda value: isinstance(value, tuple) and all(map(_is_text, value)), "a tuple of texts"),
    "categories": (lambda value: isinstance(value, tuple) and all(map(_is_text, value)), "a tuple of texts"),
}


def find_problem(spec: Spec) -> str:
    """Return what is wrong with a spec's fields, which are not checked when it is made; empty if nothing is."""
    if isinstance(spec, BackboneSpec) and _is_text(spec.name) and "+" in spec.name:
        return f"BackboneSpec {spec.name!r}: a name of a backbone cannot have a '+', which joins backbones"
    for each in fields(spec):
        value, (holds, needed) = getattr(spec, each.name), _FIELDS[each.name]
        if not holds(value):
            return f"{type(spec).__name__} {spec.name!r}: {each.name} is {value!r}; it needs {needed}"
    return ""


def load_target(target: str) -> Any:
    """Import and return what ``"package.module:Name"`` names.

    Raises ImportError or AttributeError like an import; callers turn these into a message that names the plugin.
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
