"""Every rule for exporters can fail, fails for what it is about, and for nothing else."""

import pytest
from wrong_exporters import RIGHT, WRONG
from wrong_exporters.heavy import HEAVY

from adcli.testing import Check, Checked, check_plugin, conformance
from adcli.testing.exporters import RULES


@conformance(RIGHT)
def test_the_right_exporter_conforms(check: Check) -> None:
    check()


@conformance(RIGHT, options={"compress": True})
def test_the_right_exporter_conforms_with_other_options(check: Check) -> None:
    check()


def test_every_rule_has_a_wrong_exporter() -> None:
    assert set(WRONG) | {"describing_imports_nothing_heavy"} == set(RULES)


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_exporter_breaks_its_rule_and_no_other(rule: str) -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(WRONG[rule])) if result.problem}
    assert set(broken) == {rule}, broken


def test_importing_torch_to_describe_breaks_the_rule_on_imports() -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(HEAVY)) if result.problem}
    assert set(broken) == {"describing_imports_nothing_heavy"}, broken
    assert "torch" in broken["describing_imports_nothing_heavy"]


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())


def test_an_expected_failure_names_a_rule() -> None:
    with pytest.raises(ValueError, match="is not a rule"):
        conformance(RIGHT, expected_failures={"damage_scores_higher": "a rule for models"})
