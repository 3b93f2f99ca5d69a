"""Checking a plugin against the rules for its kind, without pytest."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adcli._plugins.registry import registry
from adcli.errors import OptionError, suggest
from adcli.specs import KINDS, Kind, ModelSpec, Spec, load_target
from adcli.testing._kinds import Rules, WriteImages


class Facts(NamedTuple):
    """What the kit knows of a kind.

    Attributes:
        module: has ``RULES``, and ``subject_of``, which makes what rules look at.
        arguments: what ``subject_of`` takes besides the plugin.
    """

    module: str
    arguments: tuple[str, ...]


FACTS: dict[Kind, Facts] = {
    "model": Facts("adcli.testing.models", ("options",)),
    "dataset": Facts("adcli.testing.datasets", ("options", "write_images")),
    "backbone": Facts("adcli.testing.backbones", ()),
    "exporter": Facts("adcli.testing.exporters", ("options", "model")),
}


def kind_of(plugin: str | Spec) -> Kind:
    """Return the kind of a spec, or the one kind in which plugins offer a name.

    Raises:
        OptionError: no kind offers the name, or several do.
    """
    if not isinstance(plugin, str):
        return KINDS[type(plugin)]
    prefix, colon, _ = plugin.partition(":")
    offered = registry().by_kind
    kinds = [kind for kind, known in offered.items() if known.get(prefix + colon) is not None]
    if not kinds:
        everything = [name for known in offered.values() for name in known]
        broken = "".join(f" ({failed} failed to load: see 'adcli plugins')" for failed in registry().failed)
        raise OptionError(f"no plugin offers '{plugin}'.{suggest(plugin, everything)}{broken}")
    if len(kinds) > 1:
        raise OptionError(f"'{plugin}' is the name of a {' and a '.join(kinds)}: say which kind is meant.")
    return kinds[0]


@dataclass(frozen=True)
class Result:
    """The outcome of one rule; ``problem`` is one line, empty if the plugin keeps the rule."""

    rule: str
    promise: str
    problem: str = ""
    seconds: float = 0.0


class Checked:
    """A plugin to check, and how.

    Args:
        plugin: a name, as ``--model``, ``--data``, ``--backbone`` or ``--to`` take it, or a spec.
        kind: what it is; found by its name if None.
        options: of a model, on top of its ``quick`` ones; of a data set or exporter, in place of its defaults.
        write_images: for a data set: writes images into an empty folder and returns the options that load them.
        model: for an exporter: the name or spec of the model to export; a mean image if None.

    Raises:
        OptionError: no plugin has the name, or plugins of several kinds do; or this kind takes no such argument.
    """

    def __init__(
        self,
        plugin: str | Spec,
        kind: Kind | None = None,
        options: Mapping[str, Any] | None = None,
        write_images: WriteImages | None = None,
        model: str | ModelSpec | None = None,
    ) -> None:
        self.plugin = plugin
        self.name = plugin if isinstance(plugin, str) else plugin.name
        self.kind: Kind = kind or kind_of(plugin)
        given = {"options": options, "write_images": write_images, "model": model}
        self.arguments = {name: value for name, value in given.items() if value is not None}
        for name in self.arguments:
            kinds = [kind for kind, facts in FACTS.items() if name in facts.arguments]
            if self.kind not in kinds:
                raise OptionError(f"{name} is for kind {' or '.join(kinds)}, and '{self.name}' is a {self.kind}.")

    def rules(self) -> Rules:
        """Return the rules for this kind, by name, importing what they need."""
        rules: Rules = load_target(f"{FACTS[self.kind].module}:RULES")
        return rules

    def subject(self) -> Any:
        """Return what the rules look at, for tests that look at more.

        Of an exporter: ``export``, a small model exported into a folder of its own; ``runtime``, that folder opened;
        ``original``, what was exported, and ``original_runtime``; ``evidence``, the images. Made once in a process.
        """
        return load_target(f"{FACTS[self.kind].module}:subject_of")(self.plugin, **self.arguments)


def check_plugin(checked: Checked) -> Iterator[Result]:
    """Check a plugin against every rule for its kind, without pytest; yield each result as soon as it is known.

    Raises:
        OptionError: no plugin has that name.
    """
    subject = checked.subject()
    for name, rule in checked.rules().items():
        start, problem = time.perf_counter(), ""
        try:
            rule(subject)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            problem = " ".join(f"{kind}{error}".split()) or type(error).__name__
        promise = (rule.__doc__ or "").strip()
        yield Result(name, promise, problem, time.perf_counter() - start)
