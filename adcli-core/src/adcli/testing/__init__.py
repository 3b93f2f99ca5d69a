"""Conformance checks for plugins: what every model and exporter promises, as rules that run with pytest or without.

In a plugin's tests::

    from adcli.testing import conformance

    @conformance("my_model")
    def test_my_model_conforms(check):
        check()

One test becomes one for each rule. None can be left out; a rule that a model cannot keep is named in
``expected_failures`` with the reason, and fails the test on the day it is kept. For an exporter it is
``exporter_conformance("my_format")``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adcli.specs import ExporterSpec, ModelSpec

Check = Callable[[], None]
Rules = Mapping[str, Callable[[Any], None]]


@dataclass(frozen=True)
class Result:
    """The outcome of one rule; ``problem`` is empty where it is kept."""

    rule: str
    promise: str
    problem: str = ""


def check_model(model: str | ModelSpec) -> list[Result]:
    """Check a model, by name or spec, against every rule, without pytest."""
    from adcli.testing.models import RULES, subject_of

    return _check(RULES, lambda: subject_of(model))


def check_exporter(exporter: str | ExporterSpec, *, model: str | ModelSpec | None = None) -> list[Result]:
    """Check an exporter, by name or spec, against every rule, without pytest; ``model`` as for the test."""
    from adcli.testing.exporters import RULES, subject_of

    return _check(RULES, lambda: subject_of(exporter, model))


def _check(rules: Rules, subject: Callable[[], Any]) -> list[Result]:
    results = []
    for name, rule in rules.items():
        promise = (rule.__doc__ or "").strip()
        try:
            rule(subject())
        except Exception as error:
            results.append(Result(name, promise, f"{type(error).__name__}: {error}"))
        else:
            results.append(Result(name, promise))
    return results


def conformance(
    model: str | ModelSpec, *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Callable[[Check], None]], Callable[..., None]]:
    """Parametrise a pytest test, which takes ``check`` and calls it, over every rule for models.

    Args:
        model: a model's name, or its spec.
        expected_failures: rules that the model is known to break, with the reason.

    Raises:
        ValueError: an expected failure names no rule, or gives no reason.
    """
    from adcli.testing.models import RULES, subject_of

    return _parametrise(RULES, lambda: subject_of(model), expected_failures)


def exporter_conformance(
    exporter: str | ExporterSpec,
    *,
    model: str | ModelSpec | None = None,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Check], None]], Callable[..., None]]:
    """Parametrise a pytest test, which takes ``check`` and calls it, over every rule for exporters.

    Args:
        exporter: an exporter's name, or its spec.
        model: the name or spec of the model that is exported, with its ``quick`` options; a mean image when None.
        options: the exporter's options; its defaults when None.
        expected_failures: rules that the exporter is known to break, with the reason.

    Raises:
        ValueError: an expected failure names no rule, or gives no reason.
    """
    from adcli.testing.exporters import RULES, subject_of

    return _parametrise(RULES, lambda: subject_of(exporter, model, options), expected_failures)


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
