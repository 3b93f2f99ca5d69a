"""Threads sleep soon where they wait, unless the user has said how to wait."""

import os

import pytest

from adcli._process.waiting import SPINS, sleep_soon


def test_threads_sleep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    # What is set in the process is taken back by the fixture.
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    sleep_soon()
    assert os.environ["GOMP_SPINCOUNT"] == str(SPINS)


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_who_has_said_how_to_wait_is_obeyed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for other in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    sleep_soon()
    found = {other: os.environ.get(other) for other in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    assert found == {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": None, name: value}
