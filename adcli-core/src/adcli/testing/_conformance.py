"""Checking a plugin with pytest: one test becomes one for each rule."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from adcli.specs import Kind, ModelSpec, Spec
from adcli.testing._check import Checked, Judge, explain_unchecked
from adcli.testing._kinds import WriteImages

Check = Callable[[], None]
"""One rule for one plugin under test; fails as a pytest test does."""


def conformance(
    plugin: str | Spec,
    *,
    kind: Kind | None = None,
    options: Mapping[str, Any] | None = None,
    write_images: WriteImages | None = None,
    model: str | ModelSpec | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Check], None]], Callable[..., None]]:
    """Parametrise a pytest test, which takes ``check`` and calls it, over every rule for a kind of plugin.

    Args:
        plugin, kind, options, write_images, model: what to check, and how; see :class:`Checked`.
        expected_failures: rules that the plugin is known to break, with the reason.

    Raises:
        OptionError: no plugin has the name, or this kind takes no such argument.
        ValueError: an expected failure names no rule, or gives no reason.
    """
    checked = Checked(plugin, kind, options, write_images, model)
    rules, expected = checked.rules(), dict(expected_failures or {})
    judge = cache(lambda: Judge(checked, checked.subject()))
    for name, reason in expected.items():
        if name not in rules:
            raise ValueError(f"expected failure '{name}' is not a rule; the rules are {', '.join(rules)}")
        if not reason.strip():
            raise ValueError(f"expected failure '{name}' needs a reason")

    def parametrise(test: Callable[[Check], None]) -> Callable[..., None]:
        import pytest

        def test_rule(rule: str) -> None:
            called = []

            def check() -> None:
                called.append(rule)
                _raise_if_broken(judge(), rule)

            _run(test, check, expected.get(rule))
            assert called, "the test did not call check()"

        test_rule.__name__, test_rule.__doc__, test_rule.__module__ = test.__name__, test.__doc__, test.__module__
        parametrised: Callable[..., None] = pytest.mark.parametrize("rule", list(rules))(test_rule)
        return parametrised

    return parametrise


def _raise_if_broken(judge: Judge, rule: str) -> None:
    """Check a rule; raise what it raises, with the place in the plugin's code, or that another has failed for it."""
    failure, because, _ = judge.check(rule)
    if failure is None:
        return
    if because:
        raise AssertionError(explain_unchecked(because))
    place = f"at {failure.where}"
    if failure.where and place not in getattr(failure.error, "__notes__", ()):
        failure.error.add_note(place)
    raise failure.error


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
