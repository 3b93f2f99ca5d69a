"""Fixtures of the end-to-end tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import THIRD_PARTY, Adcli, Outcome, write_parts


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set; read only."""
    return write_parts(tmp_path_factory.mktemp("data") / "parts")


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set of such parts, none of which is in the first; read only."""
    return write_parts(tmp_path_factory.mktemp("data") / "others", seed=100_000)


@pytest.fixture(scope="session")
def trained(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of PatchCore on the parts, trained once for all tests of a process; read only."""
    from adcli import pipeline

    options = {"backbone": "random:resnet18", "layers": "2,3"}
    settings = pipeline.TrainSettings(model="patchcore", data=str(parts), image_size="64", options=options)
    return pipeline.train(settings, out=tmp_path_factory.mktemp("trained") / "20260101-120000-patchcore-parts").run.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run under ``runs`` in the folder where commands start, to be changed at will."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name)).relative_to(tmp_path)


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
