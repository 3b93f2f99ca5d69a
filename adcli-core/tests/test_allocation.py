"""Memory that was freed is used again."""

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource
{setup}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * (32 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEPT = "from adcli._process.allocation import keep_freed_memory; keep_freed_memory()"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_not_mapped_anew() -> None:
    faults = [
        int(subprocess.run([sys.executable, "-c", ROUNDS.format(setup=setup)], capture_output=True, check=True).stdout)
        for setup in ("", KEPT)
    ]
    assert faults[1] < faults[0] / 5


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli._process.allocation import keep_freed_memory

    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_freed_memory()
