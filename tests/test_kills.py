"""Killed, interrupted, without room or two at once: no command that writes leaves a wrong state, or anything for good.

Each command starts in a workspace of its own, where it may change what it names and nothing else. At a random moment
something happens to it. Then the next command on the same folder has to find everything in order and clean up, and the
same command has to succeed when it is given again.

``ADCLI_KILLS`` says how many moments are tried of each command, ``ADCLI_KILLS_SEED`` which.
"""

import csv
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from forking import End, Running, Server
from support import Adcli, write_parts

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked"),
]

MOMENTS = int(os.environ.get("ADCLI_KILLS", "2"))
SEED = os.environ.get("ADCLI_KILLS_SEED", "0")

PROMPT, CALLING = 2.0, 5.0
"""Seconds within which Ctrl-C ends a command, and one that is in a call into torch or OpenVINO."""

QUICK = ("--backbone", "embedded", "--image-size", "64", "--batch-size", "4")
RUN, OTHER, BROKEN = "runs/done", "runs/other", "runs/broken"
IMAGE_FILES = ("--overlays", "--maps", "tiff", "--masks", "png")
TRAINED = ("-m", "stfpm", *QUICK, "-o", "epochs=2", "--data", "parts")


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
        arguments: what is typed.
        changes: what it may change, files and folders.
        again: what is typed when it was killed; the same if that is none.
        codes: how it may end when it is given again, as it may have been finished: 2 and 9 say so in a line.
        before: a command that makes what it needs.
        fresh: it starts threads as it imports what it needs, and so cannot be forked.
    """

    arguments: tuple[str, ...]
    changes: tuple[str, ...]
    again: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)
    before: tuple[str, ...] = ()
    fresh: bool = False


WRITERS = {
    "train in one pass": Writer(
        ("train", "-m", "padim", *QUICK, "--data", "parts", "--out", "runs/new"),
        ("runs/new", "runs/.partial"),
        ("train", "--resume", "runs/new"),
        (0, 9),
    ),
    "train in epochs": Writer(
        ("train", *TRAINED, "--out", "runs/new"),
        ("runs/new", "runs/.partial"),
        ("train", "--resume", "runs/new"),
        (0, 9),
    ),
    "resume": Writer(("train", "--resume", BROKEN), (BROKEN, "runs/.partial"), codes=(0, 5)),
    "update": Writer(
        ("update", RUN, "--data", "more", "--out", "runs/new"), ("runs/new", "runs/.partial"), codes=(0, 9)
    ),
    "evaluate": Writer(("evaluate", RUN), (RUN,)),
    "evaluate --name": Writer(("evaluate", RUN, "--data", "parts", "--name", "fresh"), (RUN,)),
    "report": Writer(("report", RUN), (RUN,), before=("calibrate", RUN, "--false-alarm-rate", "0.3")),
    "calibrate": Writer(("calibrate", RUN, "--data", "parts/test/good"), (RUN,)),
    "calibrate --undo": Writer(
        ("calibrate", RUN, "--undo"),
        (RUN,),
        ("calibrate", RUN, "--false-alarm-rate", "0.2"),
        before=("calibrate", RUN, "--false-alarm-rate", "0.3"),
    ),
    "export to onnx": Writer(
        ("export", RUN, "--to", "onnx", "--out", "made/export"),
        ("made",),
        ("export", RUN, "--to", "onnx", "--out", "made/another"),
    ),
    "export to openvino": Writer(
        ("export", RUN, "--to", "openvino"),
        (RUN,),
        ("export", RUN, "--to", "openvino", "--out", f"{RUN}/exports/another"),
        fresh=True,
    ),
    "export --force": Writer(("export", RUN, "--to", "onnx", "--out", "exported", "--force"), ("exported",)),
    "calibrate an export": Writer(("calibrate", "exported", "--data", "parts/test/good"), ("exported",)),
    "predict": Writer(
        ("predict", RUN, "parts/test", "--out", "made", *IMAGE_FILES, "--format", "csv"),
        ("made",),
        ("predict", RUN, "parts/test", "--out", "made", *IMAGE_FILES, "--append"),
    ),
    "predict --append": Writer(
        ("predict", RUN, "parts/test", "--out", "made", "--append"),
        ("made",),
        before=("predict", RUN, "parts/train", "--out", "made"),
    ),
    "plugin new": Writer(
        ("plugin", "new", "sample", "--out", "made/plugin"),
        ("made",),
        ("plugin", "new", "sample", "--out", "made/another"),
    ),
    "runs note": Writer(("runs", "note", RUN, "the second line's"), (RUN,)),
    "runs rename": Writer(("runs", "rename", OTHER, "named"), (OTHER, "runs/named"), codes=(0, 5)),
    "runs rm": Writer(("runs", "rm", OTHER, "--yes"), (OTHER,), codes=(0, 5)),
}

TOGETHER = {
    "two evaluations of one name": ("evaluate", "evaluate"),
    "an evaluation and a report": ("evaluate", "report"),
    "an evaluation and a calibration": ("evaluate", "calibrate"),
    "two calibrations": ("calibrate", "calibrate"),
    "two exports to one folder": ("export to onnx", "export to onnx"),
    "two exports in the place of one": ("export --force", "export --force"),
    "an export that is replaced and calibrated": ("export --force", "calibrate an export"),
    "two trainings of one name": ("train in one pass", "train in epochs"),
    "two that resume": ("resume", "resume"),
    "two tables in one folder": ("predict", "predict"),
    "a run that is evaluated and removed": ("evaluate", "runs rm"),
    "two plugins of one name": ("plugin new", "plugin new"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Where commands are started."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def second_server() -> Iterator[Server]:
    """Where those are started that run at the same time."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def prepared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two runs, one that was interrupted, an export, and much that is none of adcli's business."""
    root = tmp_path_factory.mktemp("prepared") / "work"
    write_parts(root / "parts", train=8, good=2, defective=2)
    write_parts(root / "more", train=4, good=0, defective=0, seed=500_000)
    for name in ("done", "other"):
        options = ("-m", "padim", *QUICK, "--updatable")
        succeed(server, root, "train", *options, "--data", "parts", "--out", f"runs/{name}")
    succeed(server, root, "export", RUN, "--to", "onnx", "--out", "exported")
    interrupt_training(server, root)
    for folder in ("", "runs", RUN, f"{RUN}/evaluations", "exported", "made", "runs/.partial"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "precious.txt").write_text("not adcli's")
    return root


def interrupt_training(server: Server, root: Path) -> None:
    """Leave a training that has a checkpoint."""
    running = server.start(["train", *TRAINED, "--out", BROKEN], root)
    while not any((root / "runs/.partial/broken").glob("checkpoints/*")):
        time.sleep(0.01)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL


def succeed(server: Server, root: Path, *arguments: str, fresh: bool = False) -> End:
    """Run a command that has to succeed."""
    end = server.start(arguments, root, fresh=fresh).wait()
    assert end.code == 0, end.said
    return end


@dataclass
class Workspace:
    """A copy of what was prepared, for one command."""

    root: Path
    adcli: Adcli
    before: Mapping[str, str] = field(default_factory=dict)

    def note(self) -> None:
        """Note what everything is like."""
        self.before = digests(self.root)

    def check(self, *changes: str, settled: bool) -> None:
        """Look at every run, which settles them, and check everything.

        Args:
            changes: what may have changed.
            settled: the last command had the chance to clean up beside runs, too.
        """
        self._look()
        self._check_elsewhere(changes)
        left = [path for path in digests(self.root) if is_temporary(path) and path not in self.before]
        if not settled:
            left = [path for path in left if path.startswith("runs/") and not path.startswith("runs/.partial/")]
        assert not left, f"left for good: {left}"
        for run in sorted(self.root.glob("runs/[!.]*/")):
            self._check_run(run)
        for manifest in self.root.rglob("manifest.yaml"):
            self._check_export(manifest.parent)
        self._check_tables()

    def _look(self) -> None:
        assert self.adcli("runs", "--dir", "runs", "--json").code == 0
        for run in [path for path in self.root.glob("runs/*/") if (path / "run.yaml").exists()]:
            outcome = self.adcli("runs", "show", run.relative_to(self.root))
            assert outcome.code == 0, outcome

    def _check_elsewhere(self, changes: tuple[str, ...]) -> None:
        """What the command did not name is as it was, and so is what others put into what it did name."""
        now = digests(self.root)
        for path, digest in self.before.items():
            foreign = path.endswith("precious.txt")
            named = any(path == change or path.startswith(f"{change}/") for change in changes)
            assert now.get(path) == digest or (named and not foreign), f"{path} was changed"
        new = [path for path in now if path not in self.before]
        stray = [path for path in new if not any(path.startswith(change) for change in changes)]
        assert not [path for path in stray if not is_temporary(path)], f"appeared: {stray}"

    def _check_run(self, run: Path) -> None:
        """It opens, and its evaluations, calibrations and page are each of one piece."""
        own = run / "evaluations/test"
        for name in ("metrics.json", "scores.csv", "report.html"):
            assert (run / name).read_bytes() == (own / name).read_bytes(), f"{name} is of another evaluation"
        for evaluation in [path.parent for path in run.glob("evaluations/*/metrics.json")]:
            with (evaluation / "scores.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert len(rows) == 4, evaluation
            assert (evaluation / "report.html").read_text().rstrip().endswith("</html>")
        self._check_history(run)

    def _check_history(self, folder: Path) -> None:
        """The calibration in force is the one that was written down last."""
        kept = sorted(folder.glob("calibrations/*.json"))
        assert kept, "no calibration is kept"
        assert [path.stem for path in kept] == [f"{number:04}" for number in range(1, len(kept) + 1)]
        in_force = json.loads((folder / "calibration.json").read_text())
        assert json.loads(kept[-1].read_text())["calibration"] == in_force

    def _check_export(self, export: Path) -> None:
        """Manifest, graph and calibration are of one piece: it predicts."""
        outcome = self.adcli("predict", export.relative_to(self.root), "parts/test/good/000.png", "--json")
        assert outcome.code == 0, outcome
        self._check_history(export)

    def _check_tables(self) -> None:
        """Tables end with a whole row, and each image has one."""
        for path in self.root.glob("made/predictions.csv"):
            text = path.read_text()
            assert text.endswith("\n")
            rows = list(csv.DictReader(text.splitlines()))
            assert all(row["verdict"] in ("good", "defect") for row in rows)


def digests(root: Path) -> dict[str, str]:
    """Return the digest of each file, by its name; folders have none."""
    return {
        path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in root.rglob("*")
    }


def is_temporary(path: str) -> bool:
    """Tell whether a file or folder is one that a command makes only for as long as it runs."""
    names = [name for name in path.split("/") if name.startswith(".")]
    return any(name not in (".partial", ".gitignore") for name in names)


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which nothing has happened yet, and where commands start."""
    root = tmp_path / "work"
    shutil.copytree(prepared, root)
    monkeypatch.chdir(root)
    return Workspace(root, adcli)


SECONDS: dict[str, float] = {}
"""How long each command takes when nothing happens to it."""


def prepare(name: str, workspace: Workspace, server: Server) -> Writer:
    """Measure a command, once, and make what it needs."""
    writer = WRITERS[name]
    if name not in SECONDS:
        twin = Workspace(Path(shutil.copytree(workspace.root, workspace.root.with_name("twin"))), workspace.adcli)
        if writer.before:
            succeed(server, twin.root, *writer.before)
        SECONDS[name] = succeed(server, twin.root, *writer.arguments, fresh=writer.fresh).seconds
        shutil.rmtree(twin.root)
    if writer.before:
        succeed(server, workspace.root, *writer.before)
    workspace.note()
    return writer


def check_given_again(writer: Writer, workspace: Workspace) -> None:
    """Give the command again, and check that it works."""
    again = workspace.adcli(*(writer.again or writer.arguments))
    if again.code == 5 and writer.again[:1] == ("train",):
        # Nothing was begun, or all was finished.
        again = workspace.adcli(*writer.arguments)
    assert again.code in writer.codes, again
    workspace.check(*writer.changes, settled=True)


def wait_in_time(running: Running) -> End:
    """Wait for the end of a command that was interrupted, which has to be in time."""
    told = time.monotonic()
    while time.monotonic() < told + PROMPT and is_alive(running.pid):
        time.sleep(0.01)
    if is_alive(running.pid):
        running.send(signal.SIGUSR1)
    while time.monotonic() < told + CALLING + 0.5 and is_alive(running.pid):
        time.sleep(0.01)
    if is_alive(running.pid):
        running.send(signal.SIGKILL)
        pytest.fail(f"did not end within {CALLING} s:\n{running.wait().said}")
    return running.wait()


def is_alive(pid: int) -> bool:
    """Tell whether a process has not ended yet; its parent may still have to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


MOMENTS_OF_EACH = pytest.mark.parametrize("moment", range(MOMENTS))


@MOMENTS_OF_EACH
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
@pytest.mark.parametrize("name", WRITERS)
def test_ended_at_any_moment(
    name: str, number: signal.Signals, moment: int, workspace: Workspace, server: Server
) -> None:
    writer = prepare(name, workspace, server)
    chance = random.Random(f"{SEED} {name} {number} {moment}")
    # Now and then while it is still importing what it needs.
    fresh = writer.fresh or chance.random() < 0.2
    wait = chance.uniform(0, 1.05 * SECONDS[name] + (3 if fresh and not writer.fresh else 0))
    running = server.start(writer.arguments, workspace.root, fresh=fresh)
    time.sleep(wait)
    running.send(number)
    end = wait_in_time(running) if number == signal.SIGINT else running.wait()
    print(f"{number.name} after {wait:.3f} s of {SECONDS[name]:.3f}{' (fresh)' * fresh}: {end}")
    # Until adcli itself is imported, Python ends in its own way.
    ways = (0, -signal.SIGKILL) if number == signal.SIGKILL else (0, 130, -signal.SIGINT) if fresh else (0, 130)
    assert end.code in ways, end.said
    assert "Traceback" not in end.said or end.code == -signal.SIGINT
    workspace.check(*writer.changes, settled=False)
    check_given_again(writer, workspace)


@MOMENTS_OF_EACH
@pytest.mark.parametrize("name", WRITERS)
def test_without_room_for_what_it_writes(name: str, moment: int, workspace: Workspace, server: Server) -> None:
    writer = prepare(name, workspace, server)
    room = int(10 ** random.Random(f"{SEED} {name} {moment}").uniform(0, 7)) - 1
    end = server.start(writer.arguments, workspace.root, fresh=writer.fresh, file_bytes=room).wait()
    print(f"{room} bytes: {end}")
    assert end.code in (0, 9), end.said
    assert "Traceback" not in end.said
    errors = [line for line in end.said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == bool(end.code), end.said
    workspace.check(*writer.changes, settled=False)
    check_given_again(writer, workspace)


@MOMENTS_OF_EACH
@pytest.mark.parametrize("pair", TOGETHER)
def test_two_at_once(pair: str, moment: int, workspace: Workspace, server: Server, second_server: Server) -> None:
    first, second = (prepare(name, workspace, server) for name in TOGETHER[pair])
    chance = random.Random(f"{SEED} {pair} {moment}")
    running = server.start(first.arguments, workspace.root)
    time.sleep(chance.uniform(0, SECONDS[TOGETHER[pair][0]]))
    other = second_server.start(second.arguments, workspace.root)
    ends = running.wait(), other.wait()
    print(ends)
    for end in ends:
        assert end.code in (0, 2, 5, 9), end.said
        assert "Traceback" not in end.said
        assert len([line for line in end.said.splitlines() if line.startswith("Error: ")]) == bool(end.code), end.said
    assert any(end.code == 0 for end in ends), ends
    workspace.check(*first.changes, *second.changes, settled=False)
