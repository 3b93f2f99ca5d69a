"""Large photographs: as many megapixels as the user allows, as much memory as there is."""

import os
from pathlib import Path

import pytest
from PIL import Image
from support import Adcli, assert_one_line

from adcli.data import room
from adcli.data.formats import LIMIT_VARIABLE
from adcli.errors import LackOfMemoryError


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A photograph of two megapixels."""
    Image.new("RGB", (2000, 1000), (90, 80, 70)).save(tmp_path / "large.png")
    return tmp_path / "large.png"


def test_every_command_that_reads_photographs_has_the_option(adcli: Adcli, run: Path, parts: Path) -> None:
    for command in (
        ["train", "-m", "padim", "--data", parts], ["evaluate", run], ["calibrate", run, "--data", parts],
        ["export", run], ["bench", run], ["predict", run, parts], ["report", run], ["datasets", "check", parts],
    ):  # fmt: skip
        outcome = adcli(*command, "--max-megapixels", "2001")
        assert_one_line(outcome, 2, "--max-megapixels must be a number of megapixels from 1 to 2000, not '2001'.")


def test_the_option_allows_what_the_variable_does_not_and_leaves_it_as_it_was(
    adcli: Adcli, run: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    refused = adcli("predict", run, large)
    assert refused.code == 4
    assert "--max-megapixels 2 " in refused.err
    assert adcli("predict", run, large, "--max-megapixels", "2").code == 0
    assert os.environ[LIMIT_VARIABLE] == "1"
    assert adcli("predict", run, large).code == 4


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_photograph_that_does_not_fit_into_memory_ends_a_command_with_one_line(
    workers: str, adcli: Adcli, run: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SMALL", 1_000_000)
    monkeypatch.setattr(room, "free_memory", lambda: 2_000_000)
    outcome = adcli("predict", run, large, "--workers", workers)
    assert_one_line(outcome, LackOfMemoryError.exit_code, "large.png: 2000 x 1000 pixels", "shrink it")
