"""Every rule can fail, fails for what it is about, and for nothing else."""

from collections.abc import Iterator

import pytest
from wrong_models import RIGHT, TAUGHT, UPDATABLE, WRONG, spec
from wrong_models.heavy import HEAVY
from wrong_models.pairs import job_of, scores_of_each

from adcli.errors import OptionError
from adcli.testing import Check, Checked, Kind, check_plugin, conformance, kind_of, models
from adcli.testing.models import RULES


@pytest.fixture(scope="module")
def one_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the wrong models fitted by one pair of processes; the right one has a pair of its own."""
    found = scores_of_each([*WRONG.values(), HEAVY], tmp_path_factory.mktemp("pair"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "scores_of_two_processes", lambda spec, options: found[job_of(spec, options)])
        yield


@conformance(RIGHT)
def test_the_right_model_conforms(check: Check) -> None:
    check()


@conformance(UPDATABLE)
def test_the_right_model_that_learns_more_conforms(check: Check) -> None:
    check()


def test_a_model_that_learns_from_known_defects_keeps_the_rule_on_them() -> None:
    RULES["known_defects_are_learnt"](models.subject_of(TAUGHT))


def test_every_rule_has_a_wrong_model() -> None:
    assert set(WRONG) | {"describing_imports_nothing_heavy"} == set(RULES)


@pytest.mark.usefixtures("one_pair")
@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_model_breaks_its_rule_and_no_other(rule: str) -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(WRONG[rule])) if result.problem}
    assert set(broken) == {rule}, broken


@pytest.mark.usefixtures("one_pair")
def test_importing_torch_to_describe_breaks_the_rule_on_imports() -> None:
    broken = {result.rule: result.problem for result in check_plugin(Checked(HEAVY)) if result.problem}
    assert set(broken) == {"describing_imports_nothing_heavy"}, broken
    assert "torch" in broken["describing_imports_nothing_heavy"]


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())


def run_rule(test: object, rule: str) -> None:
    """Run one case of a parametrised test."""
    test(rule=rule)  # type: ignore[operator]


def test_an_expected_failure_must_fail() -> None:
    @conformance(spec("Inverted"), expected_failures={"damage_scores_higher": "it is upside down"})
    def inverted(check: Check) -> None:
        check()

    @conformance(RIGHT, expected_failures={"damage_scores_higher": "it is not"})
    def right(check: Check) -> None:
        check()

    with pytest.raises(pytest.xfail.Exception, match="upside down"):
        run_rule(inverted, "damage_scores_higher")
    with pytest.raises(pytest.fail.Exception, match="passes"):
        run_rule(right, "damage_scores_higher")


def test_an_expected_failure_names_a_rule_and_a_reason() -> None:
    with pytest.raises(ValueError, match="is not a rule"):
        conformance(RIGHT, expected_failures={"nonsense": "because"})
    with pytest.raises(ValueError, match="reason"):
        conformance(RIGHT, expected_failures={"damage_scores_higher": " "})


def test_a_test_that_does_not_check_fails() -> None:
    @conformance(RIGHT)
    def idle(check: Check) -> None:
        pass

    with pytest.raises(AssertionError, match="did not call"):
        run_rule(idle, "damage_scores_higher")


def test_a_kind_is_found_by_name_and_by_spec() -> None:
    assert [kind_of(name) for name in ("folder", "random:resnet18", "timm:resnet18")] == [
        "dataset",
        "backbone",
        "backbone",
    ]
    assert kind_of(RIGHT) == "model"
    with pytest.raises(OptionError, match=r"no plugin offers 'foldr'\. Did you mean 'folder'"):
        kind_of("foldr")


@pytest.mark.parametrize("kind", ["model", "backbone", "exporter"])
def test_an_argument_of_no_use_is_refused(kind: Kind) -> None:
    with pytest.raises(OptionError, match="write_images is for kind dataset"):
        Checked("any", kind, write_images=lambda folder: {})


def test_options_change_what_is_checked() -> None:
    broken = {
        result.rule: result.problem for result in check_plugin(Checked(RIGHT, options={"grid": 0})) if result.problem
    }
    assert "grid must be at least 1, not 0" in broken["options_are_documented_and_valid"]
