"""Every rule for data sets can fail, fails for what it is about, and for nothing else; the core's own keep them all."""

from pathlib import Path

import pytest
from wrong_datasets import RIGHT, WRONG
from wrong_datasets.heavy import HEAVY
from wrong_datasets.readers import write

from adcli import DatasetSpec
from adcli.testing import Check, Checked, check_plugin, conformance
from adcli.testing.datasets import RULES


def broken_rules(spec: DatasetSpec) -> dict[str, str]:
    return {result.rule: result.problem for result in check_plugin(Checked(spec, write_images=write)) if result.problem}


def write_one_category(folder: Path) -> dict[str, Path]:
    """Write images laid out as the folder data set reads them."""
    root = write(folder)["root"] / "bolt"
    for name in ("notes.png", "turned", "masks"):
        (root / name).rename(folder / name)
    return {"root": root}


@conformance(RIGHT, write_images=write)
def test_the_right_data_set_conforms(check: Check) -> None:
    check()


@conformance("folder", kind="dataset", write_images=write_one_category)
def test_a_folder_conforms(check: Check) -> None:
    check()


@conformance("demo", kind="dataset")
def test_the_demo_data_conform(check: Check) -> None:
    check()


def test_every_rule_has_a_wrong_data_set() -> None:
    assert set(WRONG) | {"describing_imports_nothing_heavy"} == set(RULES)


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_data_set_breaks_its_rule_and_no_other(rule: str) -> None:
    broken = broken_rules(WRONG[rule])
    assert set(broken) == {rule}, broken


def test_importing_numpy_to_describe_breaks_the_rule_on_imports() -> None:
    broken = broken_rules(HEAVY)
    assert set(broken) == {"describing_imports_nothing_heavy"}, broken
    assert "numpy" in broken["describing_imports_nothing_heavy"]


def test_every_rule_says_what_it_promises() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES.values())


def test_without_data_one_rule_says_so_and_those_that_need_them_are_not_checked() -> None:
    results = [result for result in check_plugin(Checked("folder")) if result.problem]
    said, *others = results
    assert "--data FOLDER" in said.problem
    assert len(others) > 5
    assert {(result.because, result.problem) for result in others} == {
        (said.rule, f"not checked (because {said.rule} failed)")
    }
