"""A plugin is written by one command and checked by another; what is written keeps every rule as it is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support import Adcli, Outcome, assert_one_line

from adcli._plugins.registry import registry
from adcli._plugins.template import KINDS, PluginNames, fill, write_package

WRONG = Path(__file__).parents[1] / "adcli-core/tests/installed"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new package of each kind, and all of them installed in ``site``."""
    root = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        write_package(PluginNames.parse(f"new-{kind}"), kind, root / kind)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(root / "site"), *(str(root / kind) for kind in KINDS)], check=True)
    return root


def run(written: Path, *arguments: object) -> Outcome:
    """Run Python with the new packages installed, on one thread and without a hub."""
    search = os.pathsep.join([str(written / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=written, env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.thorough
@pytest.mark.slow
def test_new_packages_pass_their_own_tests(written: Path) -> None:
    outcome = run(written, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *KINDS)
    assert outcome.code == 0, outcome.out
    assert "failed" not in outcome.out


def test_a_new_data_set_is_checked_on_data_of_ones_own(written: Path, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("file,split,defect,mask\ngone.png,train,,\n")
    outcome = run(written, "-m", "adcli", "plugin", "check", "new_dataset", "-d", f"root={tmp_path}")
    assert outcome.code == 6, outcome
    assert outcome.err == ""
    failed = [line for line in outcome.out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "gone.png is not a file, expected an image" in outcome.out
    assert "  at adcli_new_dataset/reader.py:" in outcome.out
    assert "keeps 12 of 13 rules, breaks images_exist_and_can_be_read" in outcome.out.splitlines()[-1]


def test_a_new_command_is_checked_and_its_provider_is_named(written: Path) -> None:
    outcome = run(written, "-m", "adcli", "plugin", "check", "new_command")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "command 'new_command' keeps 5 of 5 rules" in outcome.out
    _, _, of_plugins = run(written, "-m", "adcli", "--help").out.partition("Commands of adcli-new-command 0.1.0:")
    assert "new_command  Print how many kilobytes" in of_plugins


def test_without_options_a_data_set_asks_for_them(adcli: Adcli) -> None:
    assert_one_line(adcli("plugin", "check", "folder"), 2, "adcli plugin check folder -d root=FOLDER", "--data FOLDER")
    assert_one_line(adcli("plugin", "check", "table"), 2, "adcli plugin check table -d file=PATH")
    assert_one_line(adcli("plugin", "check", "folder", "-d", "rot=x"), 2, "Did you mean 'root'")


@pytest.fixture
def wrong_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a plugin installed that imports torch to describe its backbone."""
    monkeypatch.syspath_prepend(str(WRONG))
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.usefixtures("wrong_plugin")
def test_a_broken_rule_is_a_line_and_exit_code_6(adcli: Adcli) -> None:
    outcome = adcli("plugin", "check", "wrong_heavy", "--json")
    assert outcome.code == 6, outcome
    found = json.loads(outcome.out)
    assert found["kind"] == "backbone"
    assert found["failed"] == ["describing_imports_nothing_heavy"]
    problems = {rule["rule"]: rule["problem"] for rule in found["rules"]}
    assert "torch" in problems["describing_imports_nothing_heavy"]


@pytest.mark.usefixtures("wrong_plugin")
def test_a_data_set_that_crashes_is_said_once_and_with_its_place(adcli: Adcli) -> None:
    outcome = adcli("plugin", "check", "torn")
    assert outcome.code == 6, outcome
    assert "Traceback" not in outcome.out + outcome.err
    assert outcome.out.count("AttributeError: 'PlainOptions' object has no attribute 'nope'") == 1
    assert re.search(r"\n  at wrong_datasets/readers.py:\d+\n", outcome.out)
    assert "(because loading_gives_samples_to_train_on failed): images_exist_and_can_be_read, " in outcome.out
    # Its module imports torch, which is another cause.
    words = (
        "keeps 2 of 13 rules, breaks describing_imports_nothing_heavy, loading_gives_samples_to_train_on, 9 not checked"
    )
    assert words in outcome.out.splitlines()[-1]
    assert "\n  at wrong_heavy.py:3\n" in outcome.out


@pytest.mark.usefixtures("wrong_plugin")
def test_a_check_fits_80_columns(adcli: Adcli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = click.unstyle(adcli("plugin", "check", "torn").out).splitlines()
    assert len(lines) > 13
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.usefixtures("wrong_plugin")
def test_a_trace_has_the_traceback_of_what_failed(adcli: Adcli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_TRACE", "1")
    outcome = adcli("plugin", "check", "torn", "--json")
    found = json.loads(outcome.out)
    assert found["failed"] == ["describing_imports_nothing_heavy", "loading_gives_samples_to_train_on"]
    assert "no_image_appears_twice" in found["not_checked"]
    by_name = {rule["rule"]: rule for rule in found["rules"]}
    assert by_name["no_image_appears_twice"]["because"] == "loading_gives_samples_to_train_on"
    assert re.search(r'Traceback \(most recent call last\):(.|\n)*readers.py", line \d+, in torn', outcome.err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pathcore",), "Did you mean 'patchcore'"),
        (("patchcore", "--kind", "dataset"), "unknown data set 'patchcore'"),
        (("patchcore", "-d", "root=x"), "-d is for data sets"),
        (("embedded", "-o", "layers=1"), "-o is for models, exporters and executors"),
        (("patchcore", "-o", "corset=1"), "Did you mean 'coreset'"),
        (("random:",), "random:NAME"),
    ],
)
def test_what_cannot_be_checked_is_one_line(adcli: Adcli, arguments: tuple[str, ...], words: str) -> None:
    assert_one_line(adcli("plugin", "check", *arguments), 2, words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MyModel", "lower-case"),
        ("2d", "lower-case"),
        ("a__b", "lower-case"),
        ("patchcore", "adcli-patchcore"),
        ("reverse-distillation", "uses it"),
        ("timm", "adcli-core"),
        ("scores", "already uses 'Scores'"),
        ("none", "already uses 'None'"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(adcli: Adcli, tmp_path: Path, name: str, words: str) -> None:
    assert_one_line(adcli("plugin", "new", name), 2, f"'{name}'", words)
    assert not list(tmp_path.iterdir())


def test_new_says_what_to_do_next(adcli: Adcli, tmp_path: Path) -> None:
    outcome = adcli("plugin", "new", "line-3", "--kind", "dataset")
    assert outcome.code == 0, outcome
    for words in ("adcli-line-3", "pip install -e './adcli-line-3[test]'", "adcli plugin check line_3 -d root=FOLDER"):
        assert words in outcome.out
    assert (tmp_path / "adcli-line-3/src/adcli_line_3/reader.py").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["adcli-line-3"]


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("model", "adcli train --model hinge"),
        ("dataset", "adcli train --model patchcore --data hinge -d root=FOLDER"),
        ("executor", "adcli sweep --model patchcore --data FOLDER --out DIR --executor hinge"),
        ("command", "adcli hinge last"),
    ],
)
def test_new_proposes_a_command_that_is_quick(adcli: Adcli, kind: str, use: str) -> None:
    outcome = adcli("plugin", "new", "hinge", "--kind", kind)
    assert outcome.out.splitlines()[-1].split(maxsplit=1) == ["use", use]


def test_a_command_does_not_take_the_name_of_one_of_adcli(adcli: Adcli, tmp_path: Path) -> None:
    assert_one_line(adcli("plugin", "new", "train", "--kind", "command"), 2, "'train' is a command of adcli itself")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_another_refused(adcli: Adcli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert adcli("plugin", "new", "hinge", "--out", "empty").code == 0
    assert (tmp_path / "empty/pyproject.toml").is_file()
    assert not list((tmp_path / "empty").glob(".adcli-*"))
    assert_one_line(adcli("plugin", "new", "hinge", "--out", "empty"), 2, "empty", "not empty")


def test_a_package_is_written_completely_or_not_at_all(
    adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def full_disk(path: Path, content: bytes) -> int:
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert_one_line(adcli("plugin", "new", "hinge"), 9, "adcli-hinge", "No space left")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_fill(kind: str) -> None:
    files = fill(PluginNames.parse("hinge"), kind)
    assert Path("pyproject.toml") in files
    assert Path("src/adcli_hinge/__init__.py") in files
    assert Path("tests/test_hinge.py") in files
    assert not [path for path, content in files.items() if "NAME" in path.name or path.suffix == ".jinja"]
    assert not [path for path, content in files.items() if b"{{" in content]


@pytest.mark.parametrize("kind", ["backbone", "exporter"])
def test_a_kind_without_a_template_names_the_page_with_its_example(adcli: Adcli, tmp_path: Path, kind: str) -> None:
    page = f"docs/plugins/adcli_{kind}s.md"
    assert_one_line(adcli("plugin", "new", "hinge", "--kind", kind), 2, f"--kind {kind}", page)
    assert (Path(__file__).parents[1] / page).is_file()
    assert not list(tmp_path.iterdir())


def test_a_model_with_its_plugin_module_is_under_60_lines() -> None:
    files = fill(PluginNames.parse("hinge"), "model")
    module = [files[Path(f"src/adcli_hinge/{name}.py")].decode().splitlines() for name in ("__init__", "model")]
    assert sum(bool(line.strip()) for lines in module for line in lines) <= 60
