"""Every rule for executors can fail, fails for what it is about, and for nothing else."""

import pytest
from wrong_executors import RIGHT, WRONG
from wrong_executors.heavy import HEAVY

from adcli.testing import Check, Checked, check_plugin, conformance
from adcli.testing.executors import RULES


@pytest.mark.slow
@conformance("local", kind="executor")
def test_processes_of_this_machine_conform(check: Check) -> None:
    check()


@pytest.mark.slow
@conformance(RIGHT)
def test_the_right_executor_conforms(check: Check) -> None:
    check()


@pytest.mark.thorough
@pytest.mark.slow
@conformance(RIGHT, options={"backwards": True})
def test_the_right_executor_conforms_with_other_options(check: Check) -> None:
    check()


def test_every_rule_has_a_wrong_executor() -> None:
    assert set(WRONG) | {"describing_imports_nothing_heavy"} == set(RULES)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_executor_breaks_its_rule_and_no_other(rule: str) -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(WRONG[rule])) if result.problem}
    assert set(broken) == {rule}, broken


@pytest.mark.thorough
@pytest.mark.slow
def test_importing_torch_to_describe_breaks_the_rule_on_imports() -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(HEAVY)) if result.problem}
    assert set(broken) == {"describing_imports_nothing_heavy"}, broken
    assert "torch" in broken["describing_imports_nothing_heavy"]


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())
