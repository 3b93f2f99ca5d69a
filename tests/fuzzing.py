"""Mutated input for every command, thousands a minute: a process that has imported everything, and forks.

Each child works in a copy of one workspace. It writes what was mutated, runs commands in itself, and judges what they
did. Its parent watches how much time and memory it takes. As a script, this prints JSON: what was tried, what was
found. ``--only KIND:NUMBER`` repeats one input, and prints what its commands said.
"""
# ruff: noqa: PTH100, PTH115, PTH118, PTH119, PTH120
# What the system is asked to write is text, which a path would change.

import argparse
import gc
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn

HEAVY = (
    *("torch", "onnxruntime", "adcli.cli", "adcli.pipeline", "adcli.nn", "adcli.testing", "adcli_onnx.graph"),
    *("adcli_padim.model", "adcli_dfm.model", "adcli_embedded.resnet", "matplotlib", "contourpy", "scipy.stats"),
)
"""What commands import; openvino starts threads, which would not be there after a fork."""

HANG = 20.0
"""Seconds of computing after which an input has hung; a busy machine may take several times as long."""

MEMORY = 4 << 30
"""Bytes that an input may take."""

STRETCH = 10.0
"""Seconds that a child works on inputs of one kind, at most."""

RUN, ONNX, OPENVINO = "runs/done", "onnx", "openvino"
TRAIN = (
    *("train", "-m", "padim", "--backbone", "embedded", "--image-size", "32", "--batch-size", "4"),
    *("-o", "layers=1", "-o", "dimensions=8"),
)


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Case:
    """One input, or a few that one command takes.

    Attributes:
        commands: what is typed, one after another.
        files: contents that are written first, by their paths.
        writes: what the commands may change, files and folders.
        stdin: what stands there.
        count: inputs in it.
        judge: says what else is wrong, if anything.
        blames: exit codes that would blame somebody else.
    """

    commands: Sequence[Sequence[str]]
    files: Mapping[str, bytes] = field(default_factory=dict)
    writes: Sequence[str] = ()
    stdin: bytes = b""
    count: int = 1
    judge: Callable[[Sequence[Said]], Iterable[str]] = lambda said: ()
    blames: Sequence[int] = ()


class Watch:
    """Notes each write and removal in this process, and refuses those outside the workspace."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.always = [os.path.join(self.root, name) for name in ("tmp", "state", "home")]
        self.allowed: list[str] = []
        self.strays: list[str] = []
        self.watching = self.wrote = False
        sys.addaudithook(self._hear)

    def begin(self, writes: Iterable[str]) -> None:
        """Watch from now on; ``writes`` are the paths that may change."""
        self.allowed = [*self.always, *(os.path.realpath(os.path.join(self.root, path)) for path in writes)]
        self.strays, self.watching = [], True

    def end(self) -> list[str]:
        """Stop watching, and return what was done elsewhere."""
        self.watching = False
        return self.strays

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching or event not in _WRITES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
            return
        self.watching = False
        try:
            self._note(event, arguments)
        finally:
            self.watching = True

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        for place, folder in _WRITES[event]:
            if isinstance(arguments[place], int):
                continue
            path = self._resolve(arguments[place], arguments[folder] if folder else -1)
            if path.startswith(("/dev/", "/proc/")):
                continue
            self.wrote = True
            if not any(is_within(path, one) for one in self.allowed):
                self.strays.append(f"{event} {path!r}")
            if not path.startswith(f"{self.root}/"):
                raise PermissionError(13, "Permission denied", path)

    @staticmethod
    def _resolve(path: Any, folder: Any) -> str:
        """Return the path that is written, with the links on the way to it, but not itself, followed."""
        text = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        text = os.path.abspath(text)
        return os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))


def is_within(path: str, allowed: str) -> bool:
    """Tell whether a path lies at or below another, or where that is made; ``*`` stands for any end of a name."""
    if allowed.endswith("*"):
        return path.startswith(allowed[:-1])
    folder, name = os.path.split(allowed)
    return f"{path}/".startswith((f"{allowed}/", os.path.join(folder, f".adcli-{name}.making/")))


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_WRITES: dict[str, tuple[tuple[int, int], ...]] = {
    "open": ((0, 0),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, 0),),
    "os.chmod": ((0, 2),),
    "os.utime": ((0, 3),),
}
"""What changes something: where its arguments have the path, and the folder that it is relative to (0: none)."""


class World:
    """A workspace of a child, which is the same again after each input."""

    def __init__(self, prepared: Path, root: Path) -> None:
        shutil.copytree(prepared, root, symlinks=True)
        self.root, self._prepared = root, prepared
        os.chdir(root)
        tempfile.tempdir = str(root / "tmp")
        # What is imported only now would be compiled and kept beside its source.
        sys.dont_write_bytecode = True
        os.environ |= {
            "ADCLI_STATE": str(root / "state"),
            "ADCLI_CACHE": str(root / "home"),
            "HOME": str(root / "home"),
            # Where torch makes a folder for what it compiles, although nothing is compiled.
            "TORCHINDUCTOR_CACHE_DIR": str(root / "home/compiled"),
        }
        self.watch = Watch(root)
        self._contents: dict[str, bytes] = {}
        self._before = self._look()
        self.usual: dict[str, Any] = {}

    def read(self, path: str) -> bytes:
        """Return the content that a file had at first."""
        if path not in self._contents:
            self._contents[path] = (self._prepared / path).read_bytes()
        return self._contents[path]

    def restore(self, written: Iterable[str]) -> None:
        """Make everything what it was at first."""
        for path in written:
            self._restore(path)
        if self.watch.wrote:
            self.watch.wrote = False
            now = self._look()
            for path in sorted({*now, *self._before}, reverse=True):
                if now.get(path) != self._before.get(path):
                    self._restore(path)
            self._before = self._look()

    def _restore(self, path: str) -> None:
        here, there = self.root / path, self._prepared / path
        if here.is_dir() and not here.is_symlink() and not there.is_dir():
            shutil.rmtree(here)
        elif there.is_dir():
            here.mkdir(parents=True, exist_ok=True)
        elif os.path.lexists(there):
            here.parent.mkdir(parents=True, exist_ok=True)
            here.unlink(missing_ok=True)
            shutil.copy2(there, here)
        elif os.path.lexists(here):
            here.unlink()

    def _look(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for folder, names, files in os.walk(self.root):
            for name in files:
                state = os.lstat(os.path.join(folder, name))
                found[os.path.relpath(os.path.join(folder, name), self.root)] = (state.st_size, state.st_mtime_ns)
            for name in names:
                found[os.path.relpath(os.path.join(folder, name), self.root)] = ()
        return found


def execute(arguments: Sequence[str], stdin: bytes = b"") -> Said:
    """Run a command in this process."""
    from adcli.cli import main

    streams = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    # Kept, since what is collected closes what it writes to.
    wrapped = [io.TextIOWrapper(into, "utf-8", "backslashreplace", write_through=True) for into in (out, err)]
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin), "utf-8"), *wrapped
    sys.argv = ["adcli", *arguments]
    code: Any = 0
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    for stream in wrapped:
        stream.flush()
    return Said(int(code), *(into.getvalue().decode(errors="replace") for into in (out, err)))


def judge(command: Sequence[str], said: Said, blames: Sequence[int] = ()) -> Iterator[str]:
    """Yield what is wrong with how a command ended."""
    lines = said.err.split("\n")
    errors = [line for line in lines if line.startswith("Error: ")]
    taken = errors == ["Error: taken"]
    # A rule that a plugin breaks is told in a table.
    silent = (0, 3) if "check" not in command else (0, 3, 4, 6)
    if (said.code in (1, 70) and not taken) or said.code in blames:
        yield f"exit code {said.code}: {errors}"
    if "Traceback" in said.err + said.out:
        yield "a traceback"
    if len(errors) != 1 and not (said.code in silent and not errors):
        yield f"exit code {said.code} and {len(errors)} lines of errors: {said.err[-500:]!r}"
    if any(len(line) > 2500 for line in errors) or "\x1b" in said.err or "\r" in said.err:
        yield f"an unsafe line: {said.err[:300]!r}"
    if "--json" in command and said.out and not taken:
        try:
            json.loads(said.out)
        except ValueError:
            yield f"no valid JSON: {said.out[:200]!r}"


def try_case(world: World, case: Case, *, loud: bool = False) -> list[str]:
    """Write what is mutated, run the commands, restore the workspace, and return what is wrong."""
    problems, all_said = [], []
    for path, content in case.files.items():
        (world.root / path).parent.mkdir(parents=True, exist_ok=True)
        (world.root / path).write_bytes(content)
    for command in case.commands:
        world.watch.begin(case.writes)
        said = execute(command, case.stdin)
        strays = world.watch.end()
        all_said.append(said)
        found = [*judge(command, said, case.blames), *(f"outside: {stray}" for stray in strays[:3])]
        problems += [f"{one_line(command)}: {problem}" for problem in found]
        if loud:
            print(f"$ adcli {one_line(command)}\n{said.out[:2000]}{said.err[:2000]}-> {said.code}\n")
    problems += case.judge(all_said)
    world.restore(case.files)
    return problems


def one_line(command: Sequence[str]) -> str:
    """Return a command as a finding has it."""
    return " ".join(ascii(word) if not word.isascii() or not word.isprintable() else word for word in command)[:400]


def prepare(root: Path) -> None:
    """Make the workspace that every child copies: photographs, a run, exports of it, and what people write."""
    from support import write_parts

    for folder in ("tmp", "state", "home", "images"):
        (root / folder).mkdir(parents=True)
    os.chdir(root)
    write_parts(root / "parts", train=8, good=2, defective=2)
    (root / "file.txt").write_text("x")
    rows = [f"parts/train/good/00{i}.png,good," for i in range(6)]
    rows += [f"parts/test/scratch/00{i}.png,defect,parts/ground_truth/scratch/00{i}_mask.png" for i in range(2)]
    (root / "table.csv").write_text("\n".join(["image,label,mask", *rows, ""]))
    named = [dict(zip(("image", "label", "mask"), row.split(","), strict=True)) for row in rows]
    (root / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    (root / "config.yaml").write_text(
        "model: padim\ndata: parts\nimage_size: 32\noptions: {backbone: embedded, layers: [1]}\n"
    )
    for command in (
        (*TRAIN, "--data", "parts", "--out", RUN),
        ("export", RUN, "--to", "onnx", "--out", ONNX),
        ("export", RUN, "--to", "openvino", "--out", OPENVINO),
    ):
        said = execute(command)
        if said.code:
            raise SystemExit(f"{command}: {said}")


def patch() -> None:
    """Have nothing wait, measure, open a browser, or train for long."""
    import webbrowser

    from adcli.exports import agreement
    from adcli.pipeline import _bench

    agreement.ROUND_SECONDS = 0.0
    _bench.THROUGHPUT_SECONDS = 0.0
    webbrowser.open = lambda *_, **__: False  # type: ignore[assignment]
    import_module("adcli.testing").check_plugin = lambda *_, **__: iter(())  # type: ignore[attr-defined]


def take_training() -> None:
    """Have no training begin from now on."""
    from adcli.errors import AdcliError
    from adcli.pipeline import _train

    def taken(_: Any, partial: Any, *__: Any) -> NoReturn:
        if partial is not None:
            partial.abandon(["run.yaml", "log.txt", "training.csv"])
            partial.leave()
        raise AdcliError("taken")

    _train._carry_out = taken  # type: ignore[assignment]


class Child:
    """A process that tries inputs of one kind for a while."""

    def __init__(self, kind: str, seed: str, first: int, seconds: float, prepared: Path, root: Path) -> None:
        self.kind, self.first, self.root = kind, first, root
        self.done = first
        self.at = first
        self._text = b""
        self.pipe, into = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            os.close(self.pipe)
            become(partial(work, kind, seed, first, seconds, prepared, root, into))
        os.close(into)
        self._started, self._computed = time.monotonic(), 0.0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield what it reports; the last one is that it has ended."""
        part = os.read(self.pipe, 1 << 16)
        if not part:
            _, status = os.waitpid(self.pid, 0)
            os.close(self.pipe)
            yield {"end": os.waitstatus_to_exitcode(status)}
            return
        *lines, self._text = (self._text + part).split(b"\n")
        for line in lines:
            report = json.loads(line)
            if "at" in report:
                self.at, self._started, self._computed = report["at"], time.monotonic(), self._time()
            yield report

    def exceeds(self) -> str:
        """Return what it has too much of, if anything."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return ""
        if pages * resource.getpagesize() > MEMORY:
            return f"more than {MEMORY >> 30} GB"
        waited = time.monotonic() - self._started
        hung = self._time() - self._computed > HANG or waited > 6 * HANG
        return f"a hang of {waited:.0f} s" if hung else ""

    def _time(self) -> float:
        """Return the seconds that it has computed."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(kind: str, seed: str, first: int, seconds: float, prepared: Path, root: Path, into: int) -> None:
    """Try inputs in this process for a while, and report each."""

    def report(**what: Any) -> None:
        os.write(into, json.dumps(what).encode() + b"\n")

    from fuzz_kinds import KINDS

    quiet()
    world = World(prepared, root)
    end, number = time.monotonic() + seconds, first
    while number == first or time.monotonic() < end:
        report(at=number)
        case = KINDS[kind](world, Random(f"{seed} {kind} {number}"))
        report(done=number, count=case.count, problems=try_case(world, case))
        number += 1


def become(task: Callable[[], None]) -> NoReturn:
    """Do a task in a process that was forked for it, and end that."""
    code = 1
    try:
        task()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def quiet() -> None:
    """Have libraries print nothing to stdout, which is the report's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.close(nowhere)


@dataclass
class Outcome:
    """What was tried, and what was found."""

    tried: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    seconds: float = 0.0


def fuzz(
    kinds: Sequence[str], seed: str, seconds: float, inputs: int, processes: int, prepared: Path, scratch: Path
) -> Outcome:
    """Try inputs of each kind in turn, until the time is over, and at least as many as are asked for."""
    outcome, begun, turn = Outcome(), time.monotonic(), 0
    following: Counter[str] = Counter()
    # In a short run each kind has a turn.
    stretch = min(STRETCH, 0.7 * seconds * processes / len(kinds))
    children: list[Child] = []

    def goes_on() -> bool:
        return time.monotonic() < begun + seconds or sum(outcome.tried.values()) < inputs

    while children or goes_on():
        while len(children) < processes and goes_on():
            # Of two that work on one kind, each has its own numbers.
            kind, turn = kinds[turn % len(kinds)], turn + 1
            # Two folders further down, so that what is said to be above has nothing in it.
            root = scratch / f"{turn}/above/above/work"
            children.append(Child(kind, seed, following[kind], stretch, prepared, root))
            following[kind] += 1000
        ready, _, _ = select.select([child.pipe for child in children], [], [], 0.2)
        for child in list(children):
            if (excess := child.exceeds()) and child.pipe not in ready:
                os.kill(child.pid, signal.SIGKILL)
                outcome.found.append(f"{child.kind}:{child.at}: {excess}")
            for report in child.read() if child.pipe in ready else ():
                if "done" in report:
                    outcome.tried[child.kind] += report["count"]
                    outcome.found += [f"{child.kind}:{report['done']}: {problem}" for problem in report["problems"]]
                if "end" in report:
                    children.remove(child)
                    shutil.rmtree(child.root, ignore_errors=True)
                    if report["end"] not in (0, -signal.SIGKILL):
                        outcome.found.append(f"{child.kind}:{child.at}: the process ended with {report['end']}")
    outcome.seconds = time.monotonic() - begun
    return outcome


def load() -> None:
    """Import what commands need, and make it ready."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in HEAVY:
        import_module(name)
    patch()
    gc.freeze()


def main() -> None:
    """Do what the arguments say."""
    from fuzz_kinds import KINDS

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="")
    parser.add_argument("--prepared", type=Path, help="a workspace that is kept")
    asked = parser.parse_args()
    load()
    with tempfile.TemporaryDirectory(prefix="adcli-fuzz-") as folder:
        prepared = (asked.prepared or Path(folder, "prepared")).absolute()
        if not prepared.exists():
            prepare_apart(prepared)
        take_training()
        warm_up(prepared)
        if asked.only:
            kind, _, number = asked.only.partition(":")
            world = World(prepared, Path(folder, "only/above/above/work"))
            for problem in try_case(world, KINDS[kind](world, Random(f"{asked.seed} {kind} {number}")), loud=True):
                print(f"found: {problem}")
            os.chdir("/")
            return
        outcome = fuzz(
            asked.kinds.split(","), asked.seed, asked.seconds, asked.inputs, asked.processes, prepared, Path(folder)
        )
    print(json.dumps({"tried": outcome.tried, "seconds": round(outcome.seconds, 1), "found": outcome.found}))


def warm_up(prepared: Path) -> None:
    """Run commands once, so that no child has to import what they need at the first time."""
    os.chdir(prepared)
    for command in (
        ("predict", RUN, "parts/test/good", "--json"),
        ("datasets", "check", "parts"),
        ("evaluate", RUN, "--json"),
        ("train", "--config", "config.yaml"),
        ("runs", "show", RUN),
        ("compare", RUN, RUN),
        ("backbones",),
    ):
        said = execute(command)
        if said.code and "Error: taken" not in said.err:
            raise SystemExit(f"{command}: {said}")


def prepare_apart(root: Path) -> None:
    """Prepare in a process of its own, since what exports use starts threads."""
    pid = os.fork()
    if not pid:
        become(partial(prepare, root))
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("the workspace could not be prepared")


if __name__ == "__main__":
    # The children import this module, too, under its name.
    sys.modules["fuzzing"] = sys.modules["__main__"]
    main()
