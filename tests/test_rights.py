"""What may not be entered, read or written is one line that names it, at every entrance."""

import contextlib
import ctypes
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Adcli, assert_one_line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rights of another kind")

QUICK = ("--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=2")
TRAIN = ("train", "-m", "padim", *QUICK)
GOOD = "parts/test/good"
IMAGE = f"{GOOD}/000.png"


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Have rights keep out this thread and those that it starts, even if it is root's."""
    before = _capabilities()
    try:
        _set_effective(before, before[0] & ~_OVERRIDING)
        yield
    finally:
        _set_effective(before, before[0])


_OVERRIDING = 1 << 1 | 1 << 2
"""What has the system ignore rights: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7)."""

_HEADER = (0x20080522, 0)


def _capabilities() -> list[int]:
    """Return this thread's capabilities: effective, permitted and inheritable ones, twice 32 bits."""
    words = (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None, use_errno=True).capget((ctypes.c_uint32 * 2)(*_HEADER), words) == 0
    return list(words)


def _set_effective(capabilities: list[int], effective: int) -> None:
    words = (ctypes.c_uint32 * 6)(effective, *capabilities[1:])
    assert ctypes.CDLL(None, use_errno=True).capset((ctypes.c_uint32 * 2)(*_HEADER), words) == 0


@pytest.fixture(scope="module")
def stocked(parts: Path, trained: Path) -> Iterator[Path]:
    """A workspace in which much may not be entered, read or written."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(parts, root / "parts")
        for run in ("run", "runs/run", "closed/run", "fixed"):
            shutil.copytree(trained, root / run)
        for closed in ("closed", "closed/runs/.partial/broken", "empty", "shut"):
            (root / closed).mkdir(exist_ok=True, parents=True)
        shutil.copytree(parts / "test/good", root / "closed/good")
        shutil.copytree(parts, root / "half")
        for file in ("shut.png", "shut.csv", "shut.yaml", "shut.safetensors"):
            (root / file).write_text("x")
        (root / "fixed/.adcli-lock").write_text("{}")
        (root / "export").mkdir()
        (root / "export/manifest.yaml").write_text("x")
        shut = [*root.glob("shut.*"), root / "export/manifest.yaml", root / "half/train/good/003.png"]
        shut += [
            root / "half/test/good",
            root / "closed",
            root / "shut",
            root / "half/ground_truth/scratch/001_mask.png",
        ]
        for path in shut:
            path.chmod(0)
        for folder_path in [path for path in (root / "fixed").rglob("*") if path.is_dir()] + [root / "fixed"]:
            folder_path.chmod(0o555)
        (root / "fixed/.adcli-lock").chmod(0o444)
        (root / "empty").chmod(0o555)
        yield root
        for path in [*shut, *(root / "fixed").rglob("*"), root / "fixed", root / "empty"]:
            path.chmod(0o755)


REFUSED = [
    # A folder on the way that may not be entered.
    (("predict", "run", "closed/good/000.png"), (4,), "closed"),
    (("predict", "run", "closed"), (4,), "closed"),
    (("predict", "run", "closed/good"), (4,), "closed"),
    (("predict", "run", "closed/*.png"), (4,), "closed"),
    (("predict", "run", "half/test/good/000.png"), (4,), "half/test/good"),
    (("datasets", "check", "half"), (4,), "half/test/good"),
    (("datasets", "check", "table:closed/t.csv"), (4,), "closed"),
    (("predict", "closed/run", IMAGE), (5,), "closed"),
    (("predict", "closed", IMAGE), (9,), "closed"),
    (("predict", "run", IMAGE, "--out", "closed/out"), (9,), "closed"),
    (("predict", "run", IMAGE, "--out", "closed"), (9,), "closed"),
    ((*TRAIN, "--data", "closed"), (4,), "closed"),
    ((*TRAIN, "--data", "closed/good"), (4,), "closed"),
    ((*TRAIN, "--data", "table:closed/t.csv"), (4,), "closed"),
    ((*TRAIN, "--data", "half"), (4,), "half"),
    ((*TRAIN, "--data", "mvtec_ad:bottle", "-d", "root=closed/mvtec"), (4,), "closed"),
    ((*TRAIN, "--data", "visa", "-d", "root=closed"), (4,), "closed"),
    ((*TRAIN, "--data", "parts", "--out", "closed/out"), (9,), "closed"),
    ((*TRAIN, "--data", "parts", "--calibration", "closed/good"), (4,), "closed"),
    ((*TRAIN, "--data", "parts", "--threshold", "f1", "--validation", "closed/good"), (4,), "closed"),
    ((*TRAIN, "--data", "parts", "--ignore", "closed/mask.png"), (4,), "closed"),
    ((*TRAIN, "--data", "parts", "-o", "weights=closed/w.safetensors"), (7, 9), "closed"),
    (("train", "--resume", "closed/runs/.partial/broken"), (5,), "closed"),
    (("train", "--resume", "closed/runs/broken"), (5,), "closed"),
    (("train", "--config", "closed/config.yaml"), (2,), "closed"),
    (("evaluate", "run", "--data", "closed"), (4,), "closed"),
    (("evaluate", "closed/run"), (5,), "closed"),
    (("calibrate", "run", "--data", "closed"), (4,), "closed"),
    (("calibrate", "run", "--data", "closed/good"), (4,), "closed"),
    (("calibrate", "closed/run", "--list"), (5,), "closed"),
    (("compare", "run", "closed/run"), (5,), "closed"),
    (("qualify", "closed/run"), (5,), "closed"),
    (("qualify", "run", "--data", "closed"), (4,), "closed"),
    (("qualify", "run", "--repeat", "closed"), (4,), "closed"),
    (("qualify", "run", "--out", "closed/q.html"), (9,), "closed"),
    (("drift", "run", "--data", "closed"), (4,), "closed"),
    (("drift", "run", "--scores", "closed/predictions.csv"), (4,), "closed"),
    (("drift", "run", "--data", "parts", "--out", "closed/p.html"), (9,), "closed"),
    (("report", "closed/run"), (5,), "closed"),
    (("bench", "closed/run"), (5,), "closed"),
    (("export", "closed/run", "--to", "onnx"), (5,), "closed"),
    (("export", "run", "--to", "onnx", "--out", "closed/export"), (9,), "closed"),
    (("datasets", "check", "closed"), (4,), "closed"),
    (("preview", "closed", "--out", "p.html"), (4,), "closed"),
    (("preview", "parts", "--out", "closed/p.html"), (9,), "closed"),
    (("preview", "parts", "--out", "closed/sub/p.html"), (9,), "closed"),
    (("preview", "parts", "--out", "p.html", "--ignore", "closed/mask.png"), (4,), "closed"),
    (("datasets", "check", "closed/good"), (4,), "closed"),
    (("plugin", "new", "sample", "--out", "closed/sample"), (9,), "closed"),
    (("runs", "--dir", "closed/runs"), (2, 5), "closed"),
    (("runs", "--dir", "closed"), (2, 5), "closed"),
    (("runs", "show", "closed/run"), (5,), "closed"),
    (("runs", "rm", "closed/run", "--yes"), (5,), "closed"),
    (("runs", "rename", "closed/run", "other"), (5,), "closed"),
    (("runs", "note", "closed/run", "text"), (5,), "closed"),
    # A file that may not be read.
    (("predict", "run", "shut.png"), (4,), "shut.png"),
    (("predict", "run", "half/train/good"), (4,), "003.png"),
    (("predict", "export", IMAGE), (10,), "manifest.yaml"),
    (("train", "--config", "shut.yaml"), (2,), "shut.yaml"),
    ((*TRAIN, "--data", "table:shut.csv"), (4,), "shut.csv"),
    ((*TRAIN, "--data", "parts", "--ignore", "shut.png"), (4,), "shut.png"),
    ((*TRAIN, "--data", "half/train"), (4,), "003.png"),
    ((*TRAIN, "--data", "parts", "-o", "weights=shut.safetensors"), (9,), "shut.safetensors"),
    (("evaluate", "run", "--data", "half"), (4,), "half"),
    # What may be read, and not be written.
    (("predict", "run", IMAGE, "--out", "empty"), (9,), "empty"),
    (("predict", "run", IMAGE, "--out", "empty/a/b"), (9,), "empty"),
    ((*TRAIN, "--data", "parts", "--out", "empty/run"), (9,), "empty"),
    (("plugin", "new", "sample", "--out", "empty/sample"), (9,), "empty"),
    (("export", "run", "--to", "onnx", "--out", "empty/export"), (9,), "empty"),
    (("evaluate", "fixed"), (9,), "fixed"),
    (("calibrate", "fixed", "--false-alarm-rate", "0.3"), (9,), "fixed"),
    (("runs", "note", "fixed", "text"), (9,), "fixed"),
    (("runs", "rm", "fixed", "--yes"), (9,), "fixed"),
    (("runs", "rename", "fixed", "other"), (9,), "fixed"),
]


@pytest.mark.parametrize(("arguments", "codes", "word"), REFUSED)
def test_what_is_refused_is_named(
    adcli: Adcli,
    stocked: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    codes: tuple[int, ...],
    word: str,
) -> None:
    monkeypatch.chdir(stocked)
    before = sorted(stocked.rglob("*"))
    with without_privileges():
        outcome = adcli(*arguments)
    assert outcome.code in codes, outcome
    assert_one_line(outcome, outcome.code, word)
    if word.startswith(("closed", "half")):
        assert "Permission denied" in outcome.err
        assert "no such" not in outcome.err
        assert "predictions.csv: cannot be read" not in outcome.err
    assert sorted(stocked.rglob("*")) == before


@pytest.mark.parametrize("name", ["run.yaml", "calibration.json", "model.safetensors"])
def test_a_file_of_a_run_that_may_not_be_read_is_named(
    adcli: Adcli, stocked: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(stocked)
    mode = (stocked / "run" / name).stat().st_mode
    (stocked / "run" / name).chmod(0)
    try:
        with without_privileges():
            assert_one_line(adcli("predict", "run", IMAGE), 5, name)
            assert adcli("runs", "--dir", ".").code == 0
    finally:
        (stocked / "run" / name).chmod(mode)


@pytest.mark.parametrize(
    ("variable", "command", "code"),
    [
        ("ADCLI_RUNS", ("predict", "last", IMAGE), 5),
        ("ADCLI_RUNS", ("runs", "show", "a"), 5),
        ("ADCLI_RUNS", (*TRAIN, "--data", "parts"), 9),
        ("ADCLI_CACHE", TRAIN, 4),
        ("ADCLI_DATA", (*TRAIN, "--data", "visa:pcb1"), 4),
    ],
)
def test_folders_of_the_environment_are_named(
    adcli: Adcli, stocked: Path, monkeypatch: pytest.MonkeyPatch, variable: str, command: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(stocked)
    monkeypatch.setenv(variable, "closed/runs")
    with without_privileges():
        assert_one_line(adcli(*command), code, "closed")


def test_images_that_may_not_be_read_are_rows(adcli: Adcli, stocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stocked)
    with without_privileges():
        outcome = adcli("predict", "run", IMAGE, "closed/good/000.png", "shut.png", "--skip-unreadable")
    assert outcome.code == 0, outcome
    assert outcome.out.count("unreadable") == 2
