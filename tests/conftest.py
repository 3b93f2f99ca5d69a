"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import THIRD_PARTY, Adcli, Outcome, write_parts


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


@pytest.fixture(scope="module")
def strangers_plugin() -> Iterator[None]:
    """Have the stranger's plugin installed for a module, and time nothing for longer than needed."""
    from adcli._plugins.registry import registry
    from adcli.exports import agreement as comparison
    from adcli.pipeline import _bench as timing

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(THIRD_PARTY))
        patch.setattr(comparison, "ROUND_SECONDS", 0.0)
        patch.setattr(timing, "THROUGHPUT_SECONDS", 0.0)
        registry.cache_clear()
        yield
    registry.cache_clear()
