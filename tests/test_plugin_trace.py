"""``ADCLI_TRACE=1`` shows every call of a plugin on stderr, and changes nothing else."""

import json
import re
from pathlib import Path

import pytest
from plugins_on_disk import MODEL, install, run
from support import THIRD_PARTY

TRACE = {"ADCLI_TRACE": "1"}
LISTENER = """
import click
from adcli import hookimpl


@hookimpl
def adcli_commands(cli):
    cli.add_command(click.Command("hello"))


@hookimpl
def adcli_run_finished(run):
    return run.name
"""


def test_imports_and_hook_calls_are_shown_with_provider_result_and_time(tmp_path: Path) -> None:
    install(tmp_path, "adcli-shown", MODEL.format(model="shown", module="adcli_shown"), version="2.5")
    install(tmp_path, "adcli-broken", "\n\nraise ValueError('no\\nluck')")
    traced = run(tmp_path, "models", "--json", environment=TRACE)
    assert "shown" in [model["name"] for model in json.loads(traced.out)]
    lines = [line for line in traced.err.splitlines() if line.startswith("trace: ")]
    ours = [re.sub(r"[\d.]+ ms", "N ms", line) for line in lines if "adcli-shown" in line or "adcli-broken" in line]
    assert ours == [
        "trace: importing the module of adcli-broken 1.0: raised ValueError: no luck, "
        f"{tmp_path / 'adcli_broken.py'}:3 (N ms)",
        "trace: importing the module of adcli-shown 2.5: module adcli_shown (N ms)",
        "trace: adcli_models of adcli-shown 2.5: [ModelSpec shown] (N ms)",
    ]
    plain = run(tmp_path, "models", "--json")
    assert plain.out == traced.out
    assert plain.err.splitlines() == [line for line in traced.err.splitlines() if not line.startswith("trace: ")]
    assert run(tmp_path, "models", environment={"ADCLI_TRACE": "0"}).err == plain.err


@pytest.mark.thorough
def test_commands_targets_and_listeners_are_shown(parts: Path, tmp_path: Path) -> None:
    install(tmp_path, "adcli-listener", LISTENER)
    site = f"{tmp_path}:{THIRD_PARTY}"
    trained = run(
        tmp_path,
        *("train", "--model", "mean_image", "--data", parts, "--image-size", 64, "--out", "run", "--json"),
        environment=TRACE | {"PYTHONPATH": site},
    )
    assert json.loads(trained.out)["run"] == "run"
    assert re.search(r"trace: loading adcli_mean.model:MeanImage of adcli-mean 1.2.3: \w+ MeanImage \(", trained.err)
    assert "trace: loading adcli.data.folder:load of adcli-core " in trained.err
    assert "trace: adcli_run_finished of adcli-listener 1.0: 'run' (" in trained.err
    assert "trace: adcli_commands of adcli-listener 1.0: None (" in run(tmp_path, "--help", environment=TRACE).err
