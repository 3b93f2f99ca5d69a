"""Print how often streams that do not drift raise an alarm, and how soon those that do, as Markdown tables.

    python benchmarks/drift.py [--streams N] [--between N]
    python benchmarks/drift.py --run RUN... --good FOLDER [--streams N] [--between N]

Scores are drawn from a normal distribution, which does not matter: only their ranks count. The good images that
calibrate are drawn at random from what streams are made of, with its batches and its days. A cell that says how often
is the share of the streams of 1,000 images that raise an alarm; one that says how soon, the median number of images
from a shift after 200 images to the alarm, and the 90 % quantile.

- ``independent``: what the bound holds for.
- ``fixed``: the same, but p-values are those among the images that calibrate alone, as one may think is right.
- ``AR(1)``: each score remembers a share of the one before it.
- ``batches``: of 50 images, whose means differ by a standard deviation of so much of that within a batch.
- ``days``: of 500 images, in which the mean goes up and down like a sine of so many standard deviations.
- ``zones``: the score is where the oddest of several zones stands, as ``Calibration.join`` has it.

With ``--run`` and ``--good``, scores are those of photographs of good parts that the model has not seen: streams are
all of them in a random order, and then all of them altered, in another. The columns are the probability that an altered
photograph scores higher than one as it was, the share of the streams that raise an alarm before and after the first
altered one, and the median number of altered photographs to it.
"""

import argparse
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from adcli import pipeline
from adcli.scoring import Calibration, Drift

LENGTH, BEFORE = 1000, 200
CALIBRATING = (43, 300)
BATCH, DAY = 50, 500

ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "10 % darker": lambda one: one.point(lambda level: round(level * 0.9)),
    "30 % darker": lambda one: one.point(lambda level: round(level * 0.7)),
    "50 % darker": lambda one: one.point(lambda level: round(level * 0.5)),
    "blurred by 1 pixel": lambda one: one.filter(ImageFilter.GaussianBlur(1)),
    "blurred by 2 pixels": lambda one: one.filter(ImageFilter.GaussianBlur(2)),
    "turned by 2 degrees": lambda one: one.rotate(2, Image.Resampling.BILINEAR),
}

Floats = NDArray[np.float64]
Draw = Callable[[Generator, int, int], tuple[Floats, Floats]]
"""Returns scores that calibrate, and a stream."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--between", type=float, default=10_000.0)
    parser.add_argument("--run", nargs="*", default=[])
    parser.add_argument("--good", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        print("| run | then | higher | alarms before | alarms after | after photographs |\n|---|---|---|---|---|---|")
        for run in arguments.run:
            print_altered(run, arguments.good, arguments.streams, arguments.between)
        return
    print("| streams | " + " | ".join(f"{count} calibrate" for count in CALIBRATING) + " |")
    print("|---|" + "---|" * len(CALIBRATING))
    for name, draw, fixed in list_kinds():
        shares = (
            share_alarmed(draw, count, arguments.streams, arguments.between, fixed=fixed) for count in CALIBRATING
        )
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)
    print("\n| shift | " + " | ".join(f"{count} calibrate" for count in CALIBRATING) + " |")
    print("|---|" + "---|" * len(CALIBRATING))
    for shift in (0.5, 1.0, 2.0, -1.0):
        cells = (measure_delay(shift, count, arguments.streams, arguments.between) for count in CALIBRATING)
        print(f"| {shift:+g} sd | " + " | ".join(cells) + " |", flush=True)


def print_altered(name: str, good: Path, streams: int, between: float) -> None:
    """Print a row for each way to alter photographs."""
    run = pipeline.find(name)
    scorer = pipeline.open_scorer(run)
    photographs = [Image.open(path).convert("RGB") for path in sorted(good.iterdir())]
    before = np.array([found.score for found in pipeline.predict(scorer, [np.asarray(one) for one in photographs])])
    for how, alter in ALTERATIONS.items():
        altered = (np.asarray(alter(one)) for one in photographs)
        after = np.array([found.score for found in pipeline.predict(scorer, altered)])
        alarms = []
        for seed in range(streams):
            random = np.random.default_rng(seed)
            stream = np.concatenate([random.permutation(before), random.permutation(after)])
            alarms.append(find_alarm(np.array(run.calibration.image_scores), stream, between, seed))
        early = [alarm for alarm in alarms if alarm is not None and alarm < len(before)]
        late = [alarm - len(before) + 1 for alarm in alarms if alarm is not None and alarm >= len(before)]
        shares = f"{len(early) / streams:.0%} | {len(late) / streams:.0%} | {np.median(late) if late else '-'}"
        higher = (after[:, None] > before[None]).mean()
        print(f"| {run.path.name} | {how} | {higher:.2f} | {shares} |", flush=True)


def list_kinds() -> Iterator[tuple[str, Draw, bool]]:
    """Yield each kind of stream: its name, what draws it, and whether p-values are fixed."""
    yield "independent", draw_independent, False
    yield "independent, fixed", draw_independent, True
    yield "independent, 3 % defects 4 sd higher", draw_with_defects, False
    for zones in (2, 6):
        yield f"{zones} zones", draw_zones(zones), False
    for memory in (0.1, 0.2, 0.5, 0.8):
        yield f"AR(1), {memory:g}", draw_autoregressive(memory), False
    for spread in (0.2, 0.3, 0.5, 1.0):
        yield f"batches, {spread:g} sd", draw_batches(spread), False
    for height in (0.2, 0.3, 0.5, 1.0):
        yield f"days, {height:g} sd", draw_days(height), False


def share_alarmed(draw: Draw, count: int, streams: int, between: float, *, fixed: bool = False) -> float:
    """Return the share of streams that raise an alarm."""
    alarmed = 0
    for seed in range(streams):
        calibrating, stream = draw(np.random.default_rng((seed, count)), count, LENGTH)
        alarmed += find_alarm(calibrating, stream, between, seed, fixed=fixed) is not None
    return alarmed / streams


def find_alarm(calibrating: Floats, stream: Floats, between: float, seed: int, *, fixed: bool = False) -> int | None:
    """Return the index of the score at which an alarm is due; None without one."""
    state = Drift.begin(calibrating.tolist(), seed=seed)
    known = array("d", state.scores)
    for i, score in enumerate(stream.tolist()):
        if state.add(score).statistic >= between:
            return i
        if fixed:
            state.scores = array("d", known)
    return None


def measure_delay(shift: float, count: int, streams: int, between: float) -> str:
    """Return the median and a quantile of the delay, of the streams that raise no alarm before."""
    delays = []
    for seed in range(streams):
        calibrating, stream = draw_independent(np.random.default_rng((seed, count)), count, LENGTH)
        stream[BEFORE:] += shift
        alarm = find_alarm(calibrating, stream, between, seed)
        if alarm is None or alarm >= BEFORE:
            delays.append(LENGTH if alarm is None else alarm - BEFORE + 1)
    median, late = np.quantile(delays, [0.5, 0.9])
    return f"{median:.0f} ({late:.0f})"


def draw_independent(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
    return random.normal(size=count), random.normal(size=length)


def draw_with_defects(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
    stream = random.normal(size=length)
    stream[random.random(length) < 0.03] += 4
    return random.normal(size=count), stream


def draw_zones(zones: int) -> Draw:
    def draw(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
        whole = random.normal(size=(count + length, 1)) + random.normal(size=(count + length, zones))
        calibrations = {
            f"zone {i}": Calibration.conformal(whole[:count, i], None, 0.01, "held-out").of_images(
                [(float(score), str(number), "") for number, score in enumerate(whole[:count, i])]
            )
            for i in range(zones)
        }
        joined = Calibration.of_zones(calibrations, 0.01)
        return np.array(joined.image_scores), np.array([joined.join(row.tolist()) for row in whole[count:]])

    return draw


def draw_autoregressive(memory: float) -> Draw:
    def draw(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
        stream = random.normal(size=length)
        for i in range(1, length):
            stream[i] = memory * stream[i - 1] + (1 - memory**2) ** 0.5 * stream[i]
        return random.normal(size=count), stream

    return draw


def draw_batches(spread: float) -> Draw:
    def draw(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
        means = np.repeat(random.normal(scale=spread, size=-(-length // BATCH)), BATCH)[:length]
        calibrating = random.normal(size=count) + random.normal(scale=spread, size=count)
        return calibrating, random.normal(size=length) + means

    return draw


def draw_days(height: float) -> Draw:
    def draw(random: Generator, count: int, length: int) -> tuple[Floats, Floats]:
        def mean(times: Floats) -> Floats:
            return np.asarray(height * np.sin(2 * np.pi * times / DAY))

        times = random.uniform(0, DAY, count)
        start = random.uniform(0, DAY)
        return random.normal(size=count) + mean(times), random.normal(size=length) + mean(start + np.arange(length))

    return draw


if __name__ == "__main__":
    main()
