"""Conformance checks for plugins: what every model promises, as rules that run with pytest or without.

In a plugin's tests::

    from adcli.testing import conformance

    @conformance("my_model")
    def test_my_model_conforms(check):
        check()

One test becomes one for each rule. None can be left out; a rule that a model cannot keep is named in
``expected_failures`` with the reason, and fails the test on the day it is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adcli.specs import ModelSpec

Check = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """The outcome of one rule; ``problem`` is empty where it is kept."""

    rule: str
    promise: str
    problem: str = ""


def check_model(model: str | ModelSpec) -> list[Result]:
    """Check a model, by name or spec, against every rule, without pytest."""
    from adcli.testing.models import RULES, subject_of

    results = []
    for name, rule in RULES.items():
        promise = (rule.__doc__ or "").strip()
        try:
            rule(subject_of(model))
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
    import pytest

    from adcli.testing.models import RULES, subject_of

    expected = dict(expected_failures or {})
    for rule, reason in expected.items():
        if rule not in RULES:
            raise ValueError(f"expected failure '{rule}' is no rule; the rules are {', '.join(RULES)}")
        if not reason.strip():
            raise ValueError(f"expected failure '{rule}' needs a reason")

    def decorate(test: Callable[[Check], None]) -> Callable[..., None]:
        def test_rule(rule: str) -> None:
            called = []

            def check() -> None:
                called.append(rule)
                RULES[rule](subject_of(model))

            _run(test, check, expected.get(rule))
            assert called, "the test did not call check()"

        test_rule.__name__, test_rule.__doc__, test_rule.__module__ = test.__name__, test.__doc__, test.__module__
        parametrised: Callable[..., None] = pytest.mark.parametrize("rule", list(RULES))(test_rule)
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
