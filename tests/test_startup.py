"""Asking for help is quick because nothing heavy is imported."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from plugins_on_disk import MODEL, install, run

HEAVY = ("torch", "numpy", "rich", "scipy", "PIL", "yaml", "timm", "sklearn")


def heavy_after(arguments: list[str], environment: Mapping[str, str]) -> str:
    """Return which heavy modules a successful command has imported."""
    code = (
        "import sys\nfrom adcli.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["export", "--help"],
        ["bench", "--help"],
        ["verify", "--help"],
        ["plugin", "check", "--help"],
        ["plugin", "new", "--help"],
        ["--version"],
        ["models"],
        ["models", "show", "patchcore"],
        ["exporters"],
        ["executors", "show", "local"],
        ["sweep", "--help"],
        ["datasets"],
        ["datasets", "show", "real_iad"],
        ["datasets", "check", "--help"],
        ["preview", "--help"],
        ["qualify", "--help"],
        ["drift", "--help"],
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    assert heavy_after(arguments, {}) == "HEAVY []"


def install_twenty(site: Path) -> None:
    """Install plugins whose targets import torch."""
    for i in range(20):
        module = f"adcli_generated_{i:02}"
        install(site, module.replace("_", "-"), MODEL.format(model=f"generated_{i:02}", module=module))
        (site / f"{module}_code.py").write_text("import torch\n\n\nclass Model(torch.nn.Module):\n    pass\n")


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["models", "show", "generated_07"], ["plugins"]])
def test_twenty_plugins_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    install_twenty(tmp_path)
    assert heavy_after(arguments, {"PYTHONPATH": str(tmp_path)}) == "HEAVY []"


def test_every_plugin_is_imported_once_and_every_hook_called_once(tmp_path: Path) -> None:
    install_twenty(tmp_path)
    traced = run(tmp_path, "--help", environment={"ADCLI_TRACE": "1"}).err
    lines = [line.rsplit(" (", 1)[0] for line in traced.splitlines() if "adcli-generated-" in line]
    assert len(lines) == len(set(lines)) == 40
    assert sum(line.startswith("trace: importing the module of ") for line in lines) == 20
    assert sum(line.startswith("trace: adcli_models of ") for line in lines) == 20


def test_a_target_is_imported_when_it_is_used(parts: Path, tmp_path: Path) -> None:
    install_twenty(tmp_path)
    outcome = run(tmp_path, "train", "--model", "generated_07", "--data", parts, environment={"ADCLI_TRACE": "1"})
    loaded = [line for line in outcome.err.splitlines() if "loading adcli_generated" in line]
    assert len(loaded) == 1
    assert "loading adcli_generated_07_code:Model of adcli-generated-07 1.0: type Model" in loaded[0]
