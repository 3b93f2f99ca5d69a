"""Runs and exports that somebody changed on purpose, digests right: one line that names file and field, or no harm."""

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import spoiling
from spoiling import RAW_JSON, RAW_YAML, Variant, spoil
from support import draw_part, write_parts

from adcli._files import seal
from adcli.exports import agreement

RUN, HALF, EXPORT = "runs/a", "runs/.partial/half", "runs/a/exports/onnx"
LONGEST = 20
"""Seconds that a command may take."""

FEW, MANY = 6, 150
"""Ways in which a file is changed: in the default suite, and if there is time."""


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
        patch.setattr(agreement, "ROUND_SECONDS", 0.0)
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
    content["record"] = {
        name: record[name] for name in ("core", "model", "image_size", "plugin", "backbone", "data", "ignore")
    }
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
RESUME = ("train", "--resume", "half")
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


def check_variants(made: Path, to: Path, name: str, chosen: Sequence[Variant], *, thorough: bool) -> None:
    """Check what commands say of files that differ from right ones by a value."""
    artefact, faults = ARTEFACTS[name], []
    for variant in chosen:
        with copied(made, to):
            replace_file(to / artefact.path, artefact, variant)
            for command in artefact.commands if thorough else artefact.commands[:3]:
                try:
                    told = tell(*command)
                except (Exception, HangError) as error:
                    fault = f"{type(error).__name__}: {error}"[:200]
                else:
                    fault = find_fault(told, artefact, variant)
                    fault = fault and f"{fault}: {told.err[-300:]}"
                if fault:
                    faults.append(f"{variant.field} is {variant.wrong}, {' '.join(command[:2])}: {fault}")
    assert not faults, "\n".join([f"{len(faults)} of {len(chosen)}:", *faults[:20]])


def replace_file(path: Path, artefact: Artefact, variant: Variant) -> None:
    """Write a file, and what vouches for it, without touching the ones that they are copies of."""
    manifest = path.with_name("manifest.yaml")
    content = manifest.read_bytes() if manifest.exists() else b""
    path.unlink()
    if content and path != manifest:
        manifest.unlink()
        manifest.write_bytes(content)
    artefact.write(path, variant)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ARTEFACTS)
def test_what_was_changed_on_purpose_is_named_or_does_no_harm(made: Path, tmp_path: Path, name: str) -> None:
    """A few of all the ways, and those that once did harm."""
    artefact = ARTEFACTS[name]
    variants = list(spoil(artefact.read(made / artefact.path), artefact.raw))
    chosen = random.Random(name).sample(variants, FEW)
    check_variants(made, tmp_path / "copy", name, chosen, thorough=False)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", ARTEFACTS)
def test_whatever_was_changed_on_purpose_is_named_or_does_no_harm(made: Path, tmp_path: Path, name: str) -> None:
    """Each value replaced by each wrong one, and all commands that read the file; of many, as many as seconds allow."""
    artefact = ARTEFACTS[name]
    variants = list(spoil(artefact.read(made / artefact.path), artefact.raw))
    seed = os.environ.get("ADCLI_FUZZ_SEED", "0")
    random.Random(f"{name} {seed}").shuffle(variants)
    check_variants(made, tmp_path / "copy", name, variants[:MANY], thorough=True)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("run.yaml", {"record": None}, "record is null, not a mapping"),
        ("run.yaml", {"format": "3"}, "format is no whole number"),
        ("run.yaml", {"image_size": "x"}, "image_size must be N or HEIGHTxWIDTH"),
        ("run.yaml", {"image_size": None}, "image_size is missing"),
        ("run.yaml", {"created": "2026-99-01T00:00:00+0000"}, "created is '2026-99-01T00:00:00+0000', not a time"),
        ("run.yaml", {"new_setting": 4095}, "new_setting is not known; upgrade adcli-core"),
        ("run.yaml", {"options": {"layers": "x"}}, "options.layers must be"),
        ("calibration.json", {"rate": "1/0"}, "rate is '1/0', not a rate"),
        ("calibration.json", {"rate": "nan"}, "rate is 'nan', not a rate"),
        ("calibration.json", {"image_scores": ["x"]}, "image_scores[0] is 'x', not a finite number"),
        (
            "calibration.json",
            {"image_scores": [2.0, 1.0], "images": [], "digests": []},
            "image_scores is not ascending",
        ),
        ("calibration.json", {"image_threshold": None}, "image_threshold is None"),
        ("calibration.json", {"method": "x"}, "method is 'x', not 'held-out', 'folder'"),
        ("calibrations/0003.json", {"restores": 3}, "restores is 3, not the number of an earlier calibration"),
        ("calibrations/0003.json", {"time": "x"}, "time is 'x', not a time"),
        ("manifest.yaml", {"files": {"a\nb": "0" * 64}}, "files has a name that is 'a b', not the name of a file"),
        ("manifest.yaml", {"files": {"a": 3}}, "files.a is 3, not a sha256"),
        ("manifest.yaml", {"image_size": [64]}, "image_size is a list of 1, not a list of 2"),
        ("preparation.json", {"crop": [64, 64]}, "crop does not fit into region"),
        ("preparation.json", {"region": [-1, 0, 60, 60]}, "region[0] is -1, not a number of pixels"),
        ("metrics.json", {"image": {"auroc": "x"}}, "image.auroc is 'x', not a number from 0 to 1"),
        ("evaluation.json", {"data_options": 3}, "data_options is 3, not a mapping"),
    ],
)
def test_file_and_field_are_named(made: Path, tmp_path: Path, name: str, change: dict[str, Any], words: str) -> None:
    artefact = ARTEFACTS[name]
    content = artefact.read(made / artefact.path)
    with copied(made, tmp_path / "copy") as place:
        replace_file(place / artefact.path, artefact, Variant("", "", {**content, **change}))
        told = tell(*(PREDICT if artefact.commands == OF_RUN else artefact.commands[-1]))
    assert told.code == artefact.code
    assert f"{artefact.path}: {words}" in told.err.splitlines()[-1]


def change_at(content: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """Return content with another value of a field within; none of it if the value is ``...``."""
    first, _, rest = field.partition(".")
    if rest:
        return {**content, first: change_at(content[first], rest, value)}
    return {name: kept for name, kept in content.items() if name != first} | ({} if value is ... else {first: value})


DISAGREEMENTS: tuple[tuple[str, str, Any, int, tuple[str, ...]], ...] = (
    ("run.yaml", "white", "auto", 5, ("run.yaml: white is auto",)),
    ("run.yaml", "model", "patchcore", 5, ("run.yaml: model is 'patchcore', but record.model is 'padim'",)),
    ("run.yaml", "record.model", "dfm", 5, ("run.yaml: model is 'padim', but record.model is 'dfm'",)),
    ("run.yaml", "image_size", "32x64", 5, ("run.yaml: image_size is 32x64, but record.image_size is 32x32",)),
    ("run.yaml", "record.image_size", [64, 32], 5, ("image_size is 32x32, but record.image_size is 64x32",)),
    ("run.yaml", "ignore", None, 5, ("run.yaml: ignore is null, but record.ignore is there",)),
    ("run.yaml", "record.ignore", ..., 5, ("run.yaml: ignore is a file, but record.ignore is missing",)),
    ("run.yaml", "record.plugin.distribution", "adcli-dfm", 6, ("model 'padim' of adcli-dfm", "offers 'dfm'")),
    (
        "manifest.yaml",
        "image_size",
        [64, 32],
        10,
        ("preparation.json: image_size is 32x32, but image_size of manifest.yaml is 64x32",),
    ),
    (
        "preparation.json",
        "image_size",
        [32, 64],
        10,
        ("preparation.json: image_size is 32x64, but image_size of manifest.yaml is 32x32",),
    ),
    ("manifest.yaml", "exporter", "openvino", 6, ("exporter 'openvino' of adcli-onnx", "offers 'onnx'")),
    ("manifest.yaml", "thresholds.image", 1.5, 10, ("manifest.yaml: thresholds is not what calibration.json says",)),
    ("manifest.yaml", "calibration.rate", 0.5, 10, ("manifest.yaml: calibration is not what calibration.json says",)),
    ("manifest.yaml", "map_range", [0, 1e9], 10, ("manifest.yaml: map_range is not what calibration.json says",)),
    ("manifest.yaml", "run.weights", "0" * 64, 10, ("manifest.yaml: run.weights is not what calibration.json says",)),
)


@pytest.mark.parametrize(("name", "field", "value", "code", "words"), DISAGREEMENTS)
def test_what_is_said_twice_and_differs_is_refused_in_one_line(
    made: Path, tmp_path: Path, name: str, field: str, value: Any, code: int, words: tuple[str, ...]
) -> None:
    artefact = ARTEFACTS[name]
    content = change_at(artefact.read(made / artefact.path), field, value)
    with copied(made, tmp_path / "copy") as place:
        replace_file(place / artefact.path, artefact, Variant("", "", content))
        told = tell(*(PREDICT if name == "run.yaml" else PREDICT_EXPORT))
    assert told.code == code, told
    assert told.out == ""
    assert all(word in told.err.splitlines()[-1] for word in words), told.err


def test_the_size_of_a_graphs_maps_is_held_against_the_manifest(made: Path, tmp_path: Path) -> None:
    artefact = ARTEFACTS["manifest.yaml"]
    content = change_at(artefact.read(made / artefact.path), "image_size", [32, 64])
    # An export that prepares nothing says its size in the manifest alone.
    content["files"].pop("preparation.json")
    with copied(made, tmp_path / "copy") as place:
        replace_file(place / artefact.path, artefact, Variant("", "", content))
        told = tell(*PREDICT_EXPORT)
    assert told.code == 10, told
    assert "manifest.yaml: image_size is 32x64, but maps of a/1/model.onnx are 32x32" in told.err


@pytest.mark.parametrize(
    ("name", "gone", "command"),
    [
        ("run.yaml", ("record.image_size", "white"), PREDICT),
        ("run.yaml, interrupted", ("record.image_size",), RESUME),
        ("manifest.yaml", ("calibration", "thresholds", "map_range"), PREDICT_EXPORT),
    ],
)
def test_what_was_made_before_it_was_said_twice_still_opens(
    made: Path, tmp_path: Path, name: str, gone: Sequence[str], command: tuple[str, ...]
) -> None:
    artefact = ARTEFACTS[name]
    content = artefact.read(made / artefact.path)
    for field in gone:
        content = change_at(content, field, ...)
    with copied(made, tmp_path / "copy") as place:
        replace_file(place / artefact.path, artefact, Variant("", "", content))
        told = tell(*command, within=300)
    assert told.code in (0, 3), told


def test_a_list_of_runs_says_which_cannot_be_used_and_whose_metrics(made: Path, tmp_path: Path) -> None:
    with copied(made, tmp_path / "copy") as place:
        shutil.copytree(place / RUN, place / "runs/b")
        (place / "runs/b/metrics.json").write_text('{"image": {"auroc": []}}')
        shutil.copytree(place / RUN, place / "runs/c")
        content = spoiling.read_sealed(place / RUN / "run.yaml")
        (place / "runs/c/run.yaml").write_text(seal({**content, "seed": [1]}))
        told = tell("runs", "--json")
    assert told.code == 0
    listed = {item["name"]: item for item in json.loads(told.out)}
    assert listed["a"]["problem"] == ""
    assert listed["a"]["image_auroc"] is not None
    assert listed["b"]["state"] == "finished"
    assert "runs/b/metrics.json: image.auroc is a list of 0, not a number from 0 to 1" in listed["b"]["problem"]
    assert listed["c"]["state"] == "damaged"
    assert "runs/c/run.yaml: seed must be an integer, not [1]" in listed["c"]["problem"]


def test_what_a_newer_version_notes_down_is_passed_over_and_kept(made: Path, tmp_path: Path) -> None:
    with copied(made, tmp_path / "copy") as place:
        for path in (place / RUN / "run.yaml", place / EXPORT / "manifest.yaml"):
            content = spoiling.read_sealed(path)
            content.get("record", content)["noted"] = {"by": ["a newer version"]}
            path.unlink()
            path.write_text(seal(content))
        assert tell(*PREDICT).code == 0
        assert tell("calibrate", EXPORT, "--false-alarm-rate", "0.3").code == 0
        assert spoiling.read_sealed(place / EXPORT / "manifest.yaml")["noted"] == {"by": ["a newer version"]}
        shown = json.loads(tell("runs", "show", RUN, "--json").out)
    assert shown["record"]["noted"] == {"by": ["a newer version"]}
