"""Conformance checks for plugins: what each kind of plugin promises, as rules that run with pytest or without.

In a plugin's tests::

    from adcli.testing import conformance

    @conformance("my_model")
    def test_my_model_conforms(check):
        check()

One test becomes one for each rule. None can be left out; a rule that a plugin cannot keep is named in
``expected_failures`` with the reason, and fails the test on the day it is kept. ``adcli plugin check my_model`` runs
the same rules without pytest.

A data set whose images are not in its package is given some by ``prepare``, which writes a few into an empty folder and
returns the options to load them with::

    def write_a_few(folder):
        for name in ("good/0.png", "good/1.png", "dent/0.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.effect_noise((64, 64), 50).save(folder / name)
        return {"root": folder}

    @conformance("line3", kind="dataset", prepare=write_a_few)
    def test_line3_conforms(check):
        check()
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from adcli._plugins.registry import Names, registry
from adcli.errors import OptionError, suggest
from adcli.specs import KINDS as SPEC_KINDS
from adcli.specs import Kind, ModelSpec, Spec

__all__ = [
    "KINDS",
    "Check",
    "Checked",
    "Kind",
    "Prepare",
    "Result",
    "Rules",
    "check_plugin",
    "conformance",
    "kind_of",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of plugins that can be checked."""

Check = Callable[[], None]
"""One rule for one thing under test; fails as a pytest test does."""

Prepare = Callable[[Path], Mapping[str, Any]]
"""Writes a small data set into an empty folder and returns the options to load it with, for every category there is."""

Rules = Mapping[str, Callable[[Any], None]]
"""Rules of a kind by name."""


@dataclass(frozen=True)
class Result:
    """The outcome of one rule; ``problem`` is one line, empty where the rule is kept."""

    rule: str
    promise: str
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Checked:
    """What is checked, and how.

    Attributes:
        plugin: a name, as ``--model``, ``--data``, ``--backbone`` or ``--to`` take it, or a spec.
        kind: what it is; found by its name when None.
        options: of a model, on top of its ``quick`` ones; of a data set or exporter, in place of its defaults.
        prepare: for a data set: writes some data into an empty folder and returns the options to load them with.
        model: for an exporter: the name or spec of the model that is exported; a mean image when None.

    Raises:
        OptionError: the name is unknown, or of several kinds; or an argument is of no use for this kind.
    """

    plugin: str | Spec
    kind: Kind | None = None
    options: Mapping[str, Any] | None = None
    prepare: Prepare | None = None
    model: str | ModelSpec | None = None

    def __post_init__(self) -> None:
        kind = self.kind or kind_of(self.plugin)
        object.__setattr__(self, "kind", kind)
        for value, name, kinds in (
            (self.options, "options", ("model", "dataset", "exporter")),
            (self.prepare, "prepare", ("dataset",)),
            (self.model, "model", ("exporter",)),
        ):
            if value is not None and kind not in kinds:
                raise OptionError(f"{name} is for kind {' or '.join(kinds)}, and '{self.name}' is a {kind}.")

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin if isinstance(self.plugin, str) else self.plugin.name

    def rules(self) -> Rules:
        """Return the rules for this kind, by name, importing what they need."""
        from importlib import import_module

        rules: Rules = import_module(f"adcli.testing.{self.kind}s").RULES
        return rules

    def subject(self) -> Any:
        """Return what the rules look at."""
        plugin: Any = self.plugin
        if self.kind == "model":
            from adcli.testing import models

            return models.subject_of(plugin, self.options)
        if self.kind == "dataset":
            from adcli.testing import datasets

            return datasets.subject_of(plugin, self.options, self.prepare)
        if self.kind == "backbone":
            from adcli.testing import backbones

            return backbones.subject_of(plugin)
        from adcli.testing import exporters

        return exporters.subject_of(plugin, self.model, self.options)


def kind_of(plugin: str | Spec) -> Kind:
    """Return the kind of a spec, or the one kind in which plugins offer a name.

    Raises:
        OptionError: the name is offered by no kind, or by several.
    """
    if not isinstance(plugin, str):
        return SPEC_KINDS[type(plugin)]
    prefix, colon, _ = plugin.partition(":")
    offered = names_by_kind()
    kinds = [kind for kind, known in offered.items() if known.get(prefix + colon) is not None]
    if not kinds:
        everything = [name for known in offered.values() for name in known]
        broken = "".join(f" ({failed} failed to load: see 'adcli plugins')" for failed in registry().failed)
        raise OptionError(f"no plugin offers '{plugin}'.{suggest(plugin, everything)}{broken}")
    if len(kinds) > 1:
        raise OptionError(f"'{plugin}' is the name of a {' and a '.join(kinds)}: say which kind is meant.")
    return kinds[0]


def names_by_kind() -> dict[Kind, Names[Any]]:
    """Return all names that plugins offer."""
    plugins = registry()
    return {
        "model": plugins.models,
        "dataset": plugins.datasets,
        "backbone": plugins.backbones,
        "exporter": plugins.exporters,
    }


def check_plugin(checked: Checked) -> Iterator[Result]:
    """Check a plugin against every rule of its kind, without pytest; results come as the rules are done.

    Raises:
        OptionError: there is no plugin of that name.
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


def conformance(
    plugin: str | Spec,
    *,
    kind: Kind | None = None,
    options: Mapping[str, Any] | None = None,
    prepare: Prepare | None = None,
    model: str | ModelSpec | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Check], None]], Callable[..., None]]:
    """Parametrise a pytest test, which takes ``check`` and calls it, over every rule for a kind of plugin.

    Args:
        plugin, kind, options, prepare, model: what is checked, and how; see :class:`Checked`.
        expected_failures: rules that the plugin is known to break, with the reason.

    Raises:
        OptionError: the name is unknown, or an argument is of no use for this kind.
        ValueError: an expected failure names no rule, or gives no reason.
    """
    checked = Checked(plugin, kind, options, prepare, model)
    return _parametrise(checked.rules(), cache(checked.subject), expected_failures)


def _parametrise(
    rules: Rules, subject: Callable[[], Any], expected_failures: Mapping[str, str] | None
) -> Callable[[Callable[[Check], None]], Callable[..., None]]:
    import pytest

    expected = dict(expected_failures or {})
    for rule, reason in expected.items():
        if rule not in rules:
            raise ValueError(f"expected failure '{rule}' is no rule; the rules are {', '.join(rules)}")
        if not reason.strip():
            raise ValueError(f"expected failure '{rule}' needs a reason")

    def decorate(test: Callable[[Check], None]) -> Callable[..., None]:
        def test_rule(rule: str) -> None:
            called = []

            def check() -> None:
                called.append(rule)
                rules[rule](subject())

            _run(test, check, expected.get(rule))
            assert called, "the test did not call check()"

        test_rule.__name__, test_rule.__doc__, test_rule.__module__ = test.__name__, test.__doc__, test.__module__
        parametrised: Callable[..., None] = pytest.mark.parametrize("rule", list(rules))(test_rule)
        return parametrised

    return decorate


def _run(test: Callable[[Check], None], check: Check, expected: str | None) -> None:
    """Run a check; one that is expected to fail must fail."""
    import pytest

    if expected is None:
        test(check)
        return
    try:
        test(check)
    except Exception:
        pytest.xfail(expected)
    pytest.fail(f"was expected to fail ({expected}) but passes: remove it from expected_failures")
