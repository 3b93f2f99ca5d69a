"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest
from support import Adcli, Outcome, write_parts


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set; read only."""
    return write_parts(tmp_path_factory.mktemp("data") / "parts")


@pytest.fixture
def adcli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adcli:
    """Run ``adcli`` in this process, in an empty folder, offline."""
    from adcli.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return run
