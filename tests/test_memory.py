"""Where memory does not suffice, a command ends with one line that says what to lower, wherever it ran out."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import Adcli, Outcome, assert_one_line

from adcli import LackOfMemoryError, PluginError
from adcli.data import ahead
from adcli.errors import is_out_of_memory
from adcli_patchcore.model import PatchCore

ALLOCATOR = RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 9 bytes.")
OUT_OF_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    ALLOCATOR,
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
)
OTHERS = (RuntimeError("shapes do not fit"), OSError(errno.ENOENT, "No such file"), ImportError("No module named 'x'"))

WAYS: dict[str, Callable[[Exception], Exception]] = {
    "as it is": lambda error: error,
    "in another's place": lambda error: PluginError("its weights are refused."),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_every_way_to_say_it_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_nothing_else_is_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_a_fit_without_memory_is_one_line_and_leaves_no_run(
    way: str, error: Exception, parts: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        try:
            raise error
        except type(error) as caught:
            raise WAYS[way](caught) from None

    monkeypatch.setattr(PatchCore, "fit", fail)
    arguments = ("-m", "patchcore", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=2")
    outcome = adcli("train", *arguments, "--data", parts, "--out", "run")
    assert_one_line(outcome, LackOfMemoryError.exit_code, "not enough memory", "--batch-size")
    assert not Path("run").exists()
    assert not Path(".partial").exists()


def test_reading_without_memory_is_one_line(
    run: Path, parts: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ahead._thread, "start_new_thread", refuse)
    assert_one_line(adcli("predict", run, parts / "test/good"), LackOfMemoryError.exit_code, "--workers")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("megabytes", [300, 500, 1000])
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_process_with_little_memory_ends_with_one_line(
    command: str, megabytes: int, run: Path, parts: Path, adcli: Adcli
) -> None:
    """So little that torch cannot be loaded; what allocates its first bytes inside a library may still abort."""
    import resource

    limit = megabytes << 20
    paths = [str(parts / "test/good")] if command == "predict" else []
    done = subprocess.run(
        [sys.executable, "-m", "adcli", command, str(run), *paths],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert_one_line(outcome, LackOfMemoryError.exit_code, "not enough memory")
