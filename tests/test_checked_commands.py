"""Every rule for commands of plugins can fail, fails for what it is about, and for nothing else."""

import json
from pathlib import Path

import pytest
from plugins_on_disk import install, run
from support import assert_one_line

COMMAND = """
import click
from adcli import hookimpl


@hookimpl
def adcli_commands(cli):
    {adding}

    @cli.command("weigh", {settings})
    @click.argument("run")
    @click.option("--least", help="{help}"{option})
    def weigh(run, least):
        "{docstring}"
        click.echo(run)
"""
RIGHT = {"adding": "pass", "settings": "", "help": "Least bytes.", "option": "", "docstring": "Weigh a run."}
LAX = """class Lax(click.Command):
        def parse_args(self, ctx, args):
            return super().parse_args(ctx, [word for word in args if "no-such" not in word] or ["last"])
"""

WRONG = {
    "listing_imports_nothing_heavy": ({"adding": "import numpy"}, "listing it imports numpy", "import numpy"),
    "the_command_is_documented": (
        {"help": ""},
        "expected help for every option, found none for --least",
        "@cli.command",
    ),
    "adding_is_silent_and_repeatable": ({"adding": "print('hello')"}, "printed 'hello", "print("),
    "help_runs_nothing": ({"settings": "add_help_option=False"}, "No such option", "@cli.command"),
    "a_wrong_option_is_refused": (
        {"adding": LAX, "settings": "cls=Lax"},
        "'weigh --no-such-option' is taken, expected a UsageError",
        "@cli.command",
    ),
}


def test_every_rule_has_a_wrong_command() -> None:
    from adcli.testing.commands import RULES

    assert set(WRONG) == set(RULES)


def check(site: Path, **changed: str) -> tuple[str, dict]:
    code = COMMAND.format(**{**RIGHT, **changed})
    install(site, "adcli-weigh", code)
    outcome = run(site, "plugin", "check", "weigh", "--json")
    assert "Traceback" not in outcome.err
    return code, json.loads(outcome.out)


def test_the_right_command_breaks_no_rule(tmp_path: Path) -> None:
    assert check(tmp_path)[1]["failed"] == []


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_command_breaks_its_rule_and_no_other(rule: str, tmp_path: Path) -> None:
    changed, words, place = WRONG[rule]
    code, found = check(tmp_path, **changed)
    (broken,) = [result for result in found["rules"] if result["problem"]]
    assert broken["rule"] == rule
    assert words in broken["problem"]
    line = next(number for number, text in enumerate(code.splitlines(), 1) if place in text)
    assert broken["where"] == f"adcli_weigh.py:{line}"


FAILING = {
    "an error": ("1 / 0", "adcli_commands raised ZeroDivisionError: division by zero", "1 / 0"),
    "an exit": ("raise SystemExit(3)", "adcli_commands raised SystemExit: 3", "raise SystemExit"),
    "a missing import": ("import no_such_module", "No module named 'no_such_module'", "import no_such"),
    "a taken name": ('cli.command("train")(lambda: None)', "adds 'train'", "@hookimpl"),
    "no command": ('cli.commands["odd"] = 42', "adds 'odd' (42), which is not a click command", "@hookimpl"),
    "at import": ("pass\n\n1 / 0\n\ndef more(cli):\n    pass", "ZeroDivisionError: division by zero", "1 / 0"),
}


@pytest.mark.parametrize("fault", FAILING)
def test_a_command_that_could_not_be_added_is_said_with_its_reason_and_place(fault: str, tmp_path: Path) -> None:
    adding, words, place = FAILING[fault]
    code = COMMAND.format(**{**RIGHT, "adding": adding})
    install(tmp_path, "adcli-weigh", code)
    line = next(number for number, text in enumerate(code.splitlines(), 1) if text.strip().startswith(place))
    (listed,) = [
        plugin
        for plugin in json.loads(run(tmp_path, "plugins", "--json").out)
        if plugin["distribution"] == "adcli-weigh"
    ]
    for name, kinds, exit_code in (
        ("weigh", ("command", "model"), 6),
        ("adcli-weigh/weigh", (), 6),
        ("balance", (), 2),
    ):
        for kind in ([], *(["--kind", kind] for kind in kinds)):
            outcome = run(tmp_path, "plugin", "check", name, *kind)
            last = outcome.err.splitlines()[-1]
            assert outcome.code == exit_code
            assert last.startswith("Error: ")
            assert words in last
            assert f"adcli_weigh.py:{line}" in last
            assert listed["error"].replace(f"{tmp_path}/", "") in last


def test_options_of_other_kinds_are_refused(tmp_path: Path) -> None:
    install(tmp_path, "adcli-weigh", COMMAND.format(**RIGHT))
    assert_one_line(run(tmp_path, "plugin", "check", "weigh", "-d", "root=x"), 2, "-d is for data sets")
    assert_one_line(run(tmp_path, "plugin", "check", "weight"), 2, "Did you mean 'weigh'")
