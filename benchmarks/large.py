"""Time training on and evaluating large photographs: whole commands with their peak memory, and the evaluation's parts.

    python benchmarks/large.py [--model padim] [--images 30] [--peer PYTHON] [-- OPTIONS OF adcli train]

The photographs are boards of ``demo:large``, 4000 x 3000, with masks: all of them for the evaluation, 50 of them to
test; and ``--images`` to train on and as many to test for the training, PYTHON being that of an environment with
``anomalib[cpu]``, which does the same with the same weights. Seconds are those of the clock and, as other
work may share the machine, of all cores.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from commands import EMBEDDED, commands, drawn

PEER = Path(__file__).with_name("peer.py")


class Cost(NamedTuple):
    """What something took: seconds of the clock, of all cores, and the process's peak memory in MB."""

    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.wall:6.1f} s, {self.cpu:6.1f} s of all cores, {self.peak:5.0f} MB at most"


def run(command: Sequence[str]) -> Cost:
    """Run a command; its output goes nowhere."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed.")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def timed(action: Callable[[], object]) -> Cost:
    """Do something in this process."""
    start, before = time.perf_counter(), time.process_time()
    action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(time.perf_counter() - start, time.process_time() - before, peak)


def time_commands(folder: Path, arguments: argparse.Namespace) -> None:
    """Train on some photographs, and evaluate on all of them, each as a command of its own."""
    adcli = [sys.executable, "-m", "adcli"]
    train = [*adcli, "train", "--model", arguments.model, "--backbone", "embedded", *arguments.options]
    whole = run([*train, "--data", "demo:large", "--out", str(folder / "run")])
    print(f"train and evaluate, demo:large     {whole}")
    print(f"evaluate, demo:large               {run([*adcli, 'evaluate', str(folder / 'run')])}")
    data = folder / "data"
    drawn(demo("demo-large-1"), data, arguments.images, arguments.images)
    trained = run([*train, "--data", str(data), "--out", str(folder / "some")])
    print(f"train, {arguments.images} and {arguments.images} photographs      {trained}")
    if arguments.peer:
        theirs = run([arguments.peer, str(PEER), *peers(arguments.model), "--data", str(data)])
        print(f"the peer on the same files         {theirs}")


def peers(model: str) -> list[str]:
    """Return the peer's settings for a model, on the weights that ours has."""
    return ["--model", model, "--set", "backbone=resnet18", "--weights", str(EMBEDDED)]


def time_small(folder: Path) -> None:
    """Time *small* of ``commands.py``, on the demo data: what training and predicting take at least."""
    drawn(demo("demo-2"), folder / "small", 12, 4)
    settings = argparse.Namespace(precision="fp32", peer="")
    ours = commands("small", "embedded", folder / "small", folder / "small-run", settings).ours
    costs = [run(command) for command in ours]
    total = Cost(sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs), max(cost.peak for cost in costs))
    print(f"small                              {total}")


def demo(name: str) -> Path:
    """Return the folder of demo data, which is drawn by whatever uses it first."""
    from adcli import cache_folder

    return cache_folder() / name


def time_parts(run_folder: Path) -> None:
    """Time, in this process, decoding alone, decoding and the network, and all of the evaluation."""
    from adcli import pipeline
    from adcli._process.allocation import keep_freed_memory
    from adcli.data.ahead import load_all
    from adcli.data.decoding import read_image
    from adcli.data.references import load_data
    from adcli.pipeline._evaluation_pass import evaluate_samples
    from adcli.progress import Silent

    keep_freed_memory()
    samples = load_data("demo:large", {}).splits.test
    scorer = pipeline.open_scorer(pipeline.find(run_folder))
    some = sorted((run_folder.parent / "data").rglob("*.jpg"))
    alone = timed(lambda: list(load_all(some, lambda path: read_image(path).shape, 2)))
    print(f"decoding {len(some)} with two threads      {alone}")
    stream = timed(lambda: [prediction.score for prediction in scorer(sample.image for sample in samples)])
    print(f"decoding and the network           {stream}")
    whole = timed(lambda: evaluate_samples(scorer, samples, Silent()))
    print(f"evaluation                         {whole}")
    wall, cpu = ((all_of_it - part) / len(samples) for all_of_it, part in zip(whole[:2], stream[:2], strict=True))
    print(f"beyond decoding and the network    {wall:6.3f} s a photograph, {cpu:6.3f} s of all cores")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="padim")
    parser.add_argument("--images", type=int, default=30, help="to train on, and to test")
    parser.add_argument("--peer", help="the Python of an environment with anomalib[cpu]")
    parser.add_argument("options", nargs="*", help="further options of adcli train, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The commands first: a process counts the peak of the one that started it as its own.
        time_small(Path(folder))
        time_commands(Path(folder), arguments)
        time_parts(Path(folder, "run"))


if __name__ == "__main__":
    main()
