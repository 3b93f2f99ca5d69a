"""Where the time of one photograph goes, from its file to its verdict."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from adcli.data.source import Item
from adcli.runs.run import Run
from adcli.scoring.parts import of_one_part
from adcli.scoring.scorer import Scorer


def time_stages(scorer: Scorer, opened: object, images: Sequence[Path], rounds: int) -> dict[str, float]:
    """Return the median seconds of each stage of one photograph at a time, in order; the first round is left out.

    Args:
        scorer: of a run or an export.
        opened: the run or the export.
        images: files, one of which is scored in each round.
        rounds: how often.

    The stages are ``decode``, ``resize`` (with all that is done to pixels before the model), ``network`` and ``head``
    (the frozen network of a run, and all else of its model with the map), or ``graph`` of an export, and ``verdict``
    (with the regions of a defect). Of a model without such a network, and on a GPU, ``model`` stands for both.
    """
    with _watching(scorer, opened) as watched:
        timed = [_time(scorer, images[i % len(images)], watched) for i in range(rounds + 1)][1:]
    whole = "graph" if not isinstance(opened, Run) else "model"
    stages = {name: statistics.median(one[name] for one in timed) for name in timed[0]}
    if not watched:
        stages.pop("network")
        stages = {whole if name == "head" else name: seconds for name, seconds in stages.items()}
    return stages


def _time(scorer: Scorer, path: Path, watched: Sequence[list[float]]) -> dict[str, float]:
    for spans in watched:
        spans.clear()
    began = time.perf_counter()
    photograph = scorer.source.open(Item(path))
    decoded = time.perf_counter()
    image = scorer.source.fit(photograph)
    resized = time.perf_counter()
    scores, maps = scorer.runtime(image.pixels[None])
    scored = time.perf_counter()
    prediction = scorer.judge(photograph, scores[0], None if maps is None else maps[0])
    _ = prediction.p_value, prediction.verdict, prediction.regions
    judged = time.perf_counter()
    network = sum(map(sum, watched))
    return {
        "decode": decoded - began,
        "resize": resized - decoded,
        "network": network,
        "head": scored - resized - network,
        "verdict": judged - scored,
    }


@contextmanager
def _watching(scorer: Scorer, opened: object) -> Iterator[list[list[float]]]:
    """Have each backbone of a run's model note the seconds of every pass; of what has none, nothing is noted."""
    if not isinstance(opened, Run):
        yield []
        return
    from adcli.nn.backbones import Backbone
    from adcli.nn.runtime import ModelRuntime

    runtime = of_one_part(scorer.runtime)
    assert isinstance(runtime, ModelRuntime)
    # A GPU computes after the call has returned.
    found = [one for one in runtime.model.modules() if isinstance(one, Backbone)] if runtime.start is None else []
    watched: list[list[float]] = []
    with ExitStack() as stack:
        # Of several joined ones, the outer one has all.
        inner = {part for one in found for part in one.modules() if part is not one}
        for backbone in [one for one in found if one not in inner]:
            spans, started = list[float](), list[float]()

            def begin(*_: Any, started: list[float] = started) -> None:
                started.append(time.perf_counter())

            def end(*_: Any, spans: list[float] = spans, started: list[float] = started) -> None:
                spans.append(time.perf_counter() - started.pop())

            stack.callback(backbone.register_forward_pre_hook(begin).remove)
            stack.callback(backbone.register_forward_hook(end).remove)
            watched.append(spans)
        yield watched
