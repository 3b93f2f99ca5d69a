"""Checking a plugin against the rules for its kind, without pytest."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adcli._plugins.registry import registry
from adcli._plugins.tracing import trace_failure
from adcli.errors import OptionError, suggest
from adcli.specs import KINDS, Kind, ModelSpec, Spec, load_target
from adcli.testing._failures import Code, Failure, LocatedError, explain
from adcli.testing._kinds import Rules, WriteImages
from adcli.testing._places import unknown
from adcli.testing.commands import list_commands


class Facts(NamedTuple):
    """What the kit knows of a kind.

    Attributes:
        module: has ``RULES``; ``subject_of``, which makes what rules look at; and ``looked_at``, which returns the
            plugin's function or class that a rule is about.
        arguments: what ``subject_of`` takes besides the plugin.
    """

    module: str
    arguments: tuple[str, ...]


FACTS: dict[Kind, Facts] = {
    "model": Facts("adcli.testing.models", ("options",)),
    "dataset": Facts("adcli.testing.datasets", ("options", "write_images")),
    "backbone": Facts("adcli.testing.backbones", ()),
    "exporter": Facts("adcli.testing.exporters", ("options", "model")),
    "executor": Facts("adcli.testing.executors", ("options",)),
    "command": Facts("adcli.testing.commands", ()),
}


def kind_of(plugin: str | Spec) -> Kind:
    """Return the kind of a spec, or the one kind in which plugins offer a name.

    Raises:
        OptionError: no kind offers the name, or several do.
        PluginError: no kind offers the name, and a plugin of that name failed.
    """
    if not isinstance(plugin, str):
        return KINDS[type(plugin)]
    prefix, colon, _ = plugin.partition(":")
    offered = registry().by_kind
    kinds = [kind for kind, known in offered.items() if known.get(prefix + colon) is not None]
    commands = list_commands()
    kinds += ["command"] if plugin in commands else []
    if not kinds:
        everything = [*commands, *(name for known in offered.values() for name in known)]
        raise unknown(plugin, f"no plugin offers '{plugin}'.{suggest(plugin, everything)}")
    if len(kinds) > 1:
        raise OptionError(f"'{plugin}' is a name of the kinds {' and '.join(kinds)}: say which kind is meant.")
    return kinds[0]


def _check_name(name: str, kind: Kind) -> None:
    """Refuse a name that no plugin offers in a kind; commands are looked up when they are checked."""
    if kind == "command":
        return
    prefix, colon, _ = name.partition(":")
    known = registry().by_kind[kind]
    if known.get(prefix + colon) is None:
        list_commands()  # A plugin that fails there has failed.
        raise unknown(prefix + colon, known.explain_unknown(prefix + colon, name))


@dataclass(frozen=True)
class Result:
    """The outcome of one rule.

    Attributes:
        rule: its name.
        promise: what it promises.
        problem: one line; empty if the plugin keeps the rule.
        seconds: how long it took.
        where: file and line of the plugin's code that the problem is about, if known.
        because: the rule that failed, if this one could not be checked because of that.
        same_as: the rule that failed before for the same cause, if this one is broken by it too.
    """

    rule: str
    promise: str
    problem: str = ""
    seconds: float = 0.0
    where: str = ""
    because: str = ""
    same_as: str = ""


class Checked:
    """A plugin to check, and how.

    Args:
        plugin: a name, as ``--model``, ``--data``, ``--backbone``, ``--to`` or ``--executor`` take it; a spec; or
            a command.
        kind: what it is; found by its name if None.
        options: of a model, on top of its ``quick`` ones; of others, in place of their defaults.
        write_images: for a data set: writes images into an empty folder and returns the options that load them.
        model: for an exporter: the name or spec of the model to export; a mean image if None.

    Raises:
        OptionError: no plugin has the name, or plugins of several kinds do; or this kind takes no such argument.
        PluginError: no plugin has the name, and a plugin of that name failed.
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
                raise OptionError(f"{name} is for kind {' or '.join(kinds)}, and '{self.name}' is of kind {self.kind}.")
        if kind and isinstance(plugin, str):
            _check_name(plugin, kind)

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


class Verdict(NamedTuple):
    """What became of a rule.

    Attributes:
        failure: why it failed, if it did.
        because: the rule that failed before, if this one could not be checked because of that.
        same_as: the rule that failed before for the same cause.
    """

    failure: Failure | None = None
    because: str = ""
    same_as: str = ""


class Judge:
    """Checks rules one by one, and knows which of them failed for the same cause."""

    def __init__(self, checked: Checked, subject: Any) -> None:
        self.subject = subject
        self.rules = checked.rules()
        self._looked_at = load_target(f"{FACTS[checked.kind].module}:looked_at")
        self._code = Code(load_target(f"{FACTS[checked.kind].module}:packages_of")(subject))
        self._causes: dict[tuple[str, ...], str] = {}

    def check(self, rule: str) -> Verdict:
        """Check a rule; one that needs what has failed in another is not checked."""
        try:
            self.rules[rule](self.subject)
        except Exception as error:
            return self._explain(rule, error)
        return Verdict()

    def _explain(self, rule: str, error: Exception) -> Verdict:
        failure = explain(error, self._code, lambda: self._find_code(rule))
        origin = error.__cause__
        if isinstance(error, LocatedError) and isinstance(origin, Exception):
            # It was raised instead of what the rule asks for, but perhaps elsewhere as well.
            first = self._causes.setdefault(explain(origin, self._code, str).cause, rule)
            if first != rule:
                return Verdict(failure, because=first)
        first = self._causes.setdefault(failure.cause, rule)
        if first == rule:
            return Verdict(failure)
        return Verdict(failure, because=first) if failure.crashed else Verdict(failure, same_as=first)

    def _find_code(self, rule: str) -> str:
        """Return where that lies which a rule is about; nothing if it cannot even be imported."""
        try:
            return self._code.definition(self._looked_at(self.subject, rule))
        except Exception:
            return ""


def explain_unchecked(first: str) -> str:
    """Return why a rule was not checked, which needs what failed in another rule."""
    return f"not checked (because {first} failed)"


def check_plugin(checked: Checked) -> Iterator[Result]:
    """Check a plugin against every rule for its kind, without pytest; yield each result as soon as it is known.

    Raises:
        OptionError: no plugin has that name.
    """
    judge = Judge(checked, checked.subject())
    for name, rule in judge.rules.items():
        start, promise = time.perf_counter(), (rule.__doc__ or "").strip()
        failure, because, same_as = judge.check(name)
        seconds = time.perf_counter() - start
        if failure is None:
            yield Result(name, promise, seconds=seconds)
            continue
        if not because:
            trace_failure(failure.error)
        problem = explain_unchecked(because) if because else failure.text
        yield Result(name, promise, problem, seconds, failure.where, because, same_as)
