"""Runs and exports that somebody changed on purpose, digests right: one line that names file and field, or no harm."""

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import spoiling
from spoiling import RAW_JSON, RAW_YAML, Variant
from support import draw_part, write_parts

from adcli._files import seal

RUN, HALF, EXPORT = "runs/a", "runs/.partial/b", "runs/a/exports/onnx"
LONGEST = 20
"""Seconds that a command may take."""

CODES = {"run": 5, "export": 10, "option": 2}


class HangError(BaseException):
    """A command takes too long; no error that a command could take for one of a library."""


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


def tell(*arguments: str, within: int = LONGEST) -> Told:
    """Run a command in this process; anything but an exit is raised."""
    from adcli.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0

    def stop(*_: object) -> None:
        raise HangError(f"{arguments} takes more than {within} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(within)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Told(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has all that a run can have, an export of it, and a run that was interrupted."""
    place = tmp_path_factory.mktemp("made")
    with contextlib.chdir(place), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        make(place)
    return place


def make(place: Path) -> None:
    """Make them, by the program itself."""
    write_parts(place / "parts", train=12, good=3, defective=3)
    write_parts(place / "others", train=2, good=3, defective=3, seed=100_000)
    draw_part(3, defect=True)[1].save(place / "ignored.png")
    framing = ("--region", "2,2,60,60", "--crop", "56", "--fit", "letterbox", "--ignore", "ignored.png")
    quick = ("--backbone", "random:resnet18", "-o", "layers=2,3", "--image-size", "32", "--workers", "0")
    for arguments in (
        ("train", "-m", "padim", "--data", "parts", "--out", RUN, *quick, *framing),
        ("evaluate", RUN, "--data", "others", "--name", "other"),
        ("calibrate", RUN, "--false-alarm-rate", "0.2"),
        ("calibrate", RUN, "--undo"),
        ("export", RUN, "--to", "onnx", "--workers", "0"),
        ("predict", RUN, "parts/test/good", "--out", "checked"),
    ):
        told = tell(*arguments, within=300)
        assert told.code == 0, (arguments, told)
    interrupt(place / RUN, place / HALF)


def interrupt(run: Path, half: Path) -> None:
    """Make a copy of a run that was interrupted after its fit."""
    half.mkdir(parents=True)
    shutil.copy(run / "model.safetensors", half)
    shutil.copy(run / "ignore.png", half)
    content = spoiling.read_sealed(run / "run.yaml")
    record = content["record"]
    content["record"] = {name: record[name] for name in ("core", "model", "plugin", "backbone", "data", "ignore")}
    content["record"]["fit"] = {"weights": record["weights"], "timings": {"fit_seconds": 1.5}}
    (half / "run.yaml").write_text(seal(content), encoding="utf-8")
    lines = (run / "images.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    known = ("name,", *(line for line in lines if line.endswith(("fitted\n", "held-out\n"))))
    lines = [line.replace("held-out", "fitted") for line in lines if line.startswith(known)]
    (half / "training.csv").write_text("".join(lines), encoding="utf-8")


@contextlib.contextmanager
def copied(made: Path, to: Path) -> Iterator[Path]:
    """Give a copy of what was made, in which files may be replaced, as the current folder."""
    shutil.copytree(made / "runs", to / "runs", copy_function=os.link)
    for name in ("parts", "others", "ignored.png"):
        (to / name).symlink_to(made / name)
    try:
        with contextlib.chdir(to):
            yield to
    finally:
        shutil.rmtree(to)


class Artefact(NamedTuple):
    """A file of values.

    Attributes:
        path: where it lies.
        read: returns its content.
        write: writes another, with the digests that go with it.
        raw: what can be put into it as it is.
        code: of the errors about it.
        commands: that read it.
    """

    path: str
    read: Callable[[Path], Any]
    write: Callable[[Path, Variant], None]
    raw: Mapping[str, str]
    code: int
    commands: Sequence[tuple[str, ...]]


def read_json(path: Path) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("digest", None)
    return content


def write_calibration(path: Path, variant: Variant) -> None:
    spoiling.write_json(path, variant, digest=True, besides=("number",))
    if (path.parent / "manifest.yaml").exists():
        spoiling.update_manifest(path.parent)


def write_kept(path: Path, variant: Variant) -> None:
    """Write a calibration that is kept; the digest of what is in it is right if it can be."""
    content = variant.content
    inner = content.get("calibration")
    if isinstance(inner, dict) and not variant.raw and "digest" in inner:
        covered = {name: value for name, value in inner.items() if name not in ("digest", "number")}
        inner["digest"] = spoiling.digest_of(covered)
    spoiling.write_json(path, variant, digest=True)


def write_preparation(path: Path, variant: Variant) -> None:
    spoiling.write_json(path, variant)
    spoiling.update_manifest(path.parent)


def read_rows(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    return dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))


def write_rows(path: Path, variant: Variant) -> None:
    """Write a table given by columns; what is no list of cells is each cell of the column."""
    content = variant.content
    count = max(len(cells) for cells in content.values() if isinstance(cells, list))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(content)
    cells = [column if isinstance(column, list) else [column] * count for column in content.values()]
    writer.writerows(zip(*cells, strict=False))
    path.write_bytes(text.getvalue().replace(spoiling.RAW, variant.raw).encode(errors="surrogateescape"))


def write_images(path: Path, variant: Variant) -> None:
    write_rows(path, variant)
    if path.name == "images.csv":
        content = spoiling.read_sealed(path.with_name("run.yaml"))
        content["record"]["images"] = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name("run.yaml").unlink()
        path.with_name("run.yaml").write_text(seal(content), encoding="utf-8")


PREDICT = ("predict", RUN, "parts/test/good/000.png", "--workers", "0")
PREDICT_EXPORT = ("predict", EXPORT, "parts/test/good/000.png", "--workers", "0")
REPORT, LIST = ("report", RUN), ("calibrate", RUN, "--list")
AT_RATE, UNDO = ("calibrate", RUN, "--false-alarm-rate", "0.3"), ("calibrate", RUN, "--undo")
EVALUATE = ("evaluate", RUN, "--workers", "0")
TO_ONNX = ("export", RUN, "--to", "onnx", "--workers", "0", "--force")
COMPARE = ("compare", RUN, RUN)
REPORT_OTHER = ("report", RUN, "--name", "other")
RESUME = ("train", "--resume", "b")
OF_RUN = (("runs",), ("runs", "show", RUN), LIST, COMPARE, PREDICT, REPORT, AT_RATE, UNDO)
OF_EXPORT = (PREDICT_EXPORT, ("calibrate", EXPORT, "--list"), ("calibrate", EXPORT, "--false-alarm-rate", "0.3"))

ARTEFACTS = {
    "run.yaml": Artefact(f"{RUN}/run.yaml", spoiling.read_sealed, spoiling.write_sealed, RAW_YAML, 5, OF_RUN),
    "run.yaml, interrupted": Artefact(
        f"{HALF}/run.yaml", spoiling.read_sealed, spoiling.write_sealed, RAW_YAML, 5, (("runs",), RESUME)
    ),
    "calibration.json": Artefact(f"{RUN}/calibration.json", read_json, write_calibration, RAW_JSON, 5, OF_RUN),
    "calibrations/0003.json": Artefact(
        f"{RUN}/calibrations/0003.json", read_json, write_kept, RAW_JSON, 5, (LIST, REPORT, AT_RATE, UNDO)
    ),
    "manifest.yaml": Artefact(
        f"{EXPORT}/manifest.yaml", spoiling.read_sealed, spoiling.write_sealed, RAW_YAML, 10, OF_EXPORT
    ),
    "calibration.json, exported": Artefact(
        f"{EXPORT}/calibration.json", read_json, write_calibration, RAW_JSON, 10, OF_EXPORT
    ),
    "preparation.json": Artefact(
        f"{EXPORT}/preparation.json", read_json, write_preparation, RAW_JSON, 10, (PREDICT_EXPORT,)
    ),
    "metrics.json": Artefact(
        f"{RUN}/metrics.json", read_json, spoiling.write_json, RAW_JSON, 5, (("runs",), ("runs", "show", RUN))
    ),
    "evaluation.json": Artefact(
        f"{RUN}/evaluations/other/evaluation.json", read_json, spoiling.write_json, RAW_JSON, 5, (REPORT_OTHER,)
    ),
    "scores.csv": Artefact(f"{RUN}/evaluations/test/scores.csv", read_rows, write_rows, RAW_JSON, 5, (COMPARE,)),
    "images.csv": Artefact(f"{RUN}/images.csv", read_rows, write_images, RAW_JSON, 5, (AT_RATE,)),
    "training.csv": Artefact(f"{HALF}/training.csv", read_rows, write_images, RAW_JSON, 5, (RESUME,)),
}


def find_fault(told: Told, artefact: Artefact, variant: Variant) -> str:
    """Return what a command should not have said; nothing if it said one line, or did no harm."""
    if "\x1b" in told.err or "Traceback" in told.err:
        return "it is not fit for a terminal"
    if told.code == 0:
        return ""
    lines = [line for line in told.err.splitlines() if line.startswith("Error: ")]
    last = told.err.splitlines()[-1] if told.err else ""
    if len(lines) != 1 or lines[0] != last:
        return "it is not one line"
    if len(last) > 2000:
        return "it is a very long line"
    if told.code == artefact.code and Path(artefact.path).name not in last:
        return "it does not name the file"
    return "" if told.code in range(2, 12) else f"its code is {told.code}"
