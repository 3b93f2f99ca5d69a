"""Asking for help is quick because nothing heavy is imported."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "rich", "scipy", "PIL", "yaml", "timm", "sklearn")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["export", "--help"],
        ["bench", "--help"],
        ["plugin", "check", "--help"],
        ["plugin", "new", "--help"],
        ["--version"],
        ["models"],
        ["models", "show", "patchcore"],
        ["exporters"],
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom adcli.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
