"""Check every model on a GPU, then measure it: one script, from a checkout, within a few minutes.

    python benchmarks/gpu.py [--device cuda] [--seconds 420] [--json FILE] [--quick] [PART ...]

Nothing has to be installed but torch, timm and what else the packages depend on; CFlow needs FrEIA, installed or as a
wheel in the folder ``.whl``. Backbones have random weights, so that nothing is downloaded. First comes what must be
right, one line for each model: scores of the GPU against those of the CPU, relative to their range. Then come two
processes on one card, a resumed training and an exported model, then speed beside that of the bare network. A part
that fails is reported, and loses no other; one that would not end in time is left out, and named. The table comes last.
``--quick --device cpu`` runs every line with tiny sizes.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def make_importable() -> None:
    """Put the packages of this checkout on the path, with the metadata by which plugins are found."""
    metadata = Path(tempfile.mkdtemp(prefix="adcli-metadata-"))
    sources, wheels = [], [str(wheel) for wheel in (ROOT / ".whl").glob("*.whl")]
    for project in [ROOT / "adcli-core", *sorted((ROOT / "plugins").iterdir())]:
        if not (project / "pyproject.toml").is_file():
            continue
        declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        folder = metadata / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n"
        )
        points = declared.get("entry-points", {}).get("adcli", {})
        lines = ["[adcli]", *(f"{name} = {module}" for name, module in points.items())] if points else []
        (folder / "entry_points.txt").write_text("\n".join([*lines, ""]))
        sources.append(str(project / "src"))
    sys.path[:0] = [str(metadata), *sources]
    if importlib.util.find_spec("FrEIA") is None:
        sys.path += wheels
    # For the processes that are started.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # On this machine, OpenVINO's plugin may lack what it needs, which would only be said again and again.
    if importlib.util.find_spec("openvino") is None:
        os.environ.setdefault("ADCLI_DISABLE", "openvino")


if "ADCLI_GPU_CHILD" not in os.environ:
    make_importable()

import numpy as np  # noqa: E402 - only now can the packages be imported
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402

from adcli._plugins.registry import registry  # noqa: E402
from adcli.data.source import Decoded, ImageSource, Item  # noqa: E402
from adcli.nn import Backbone, Batches, Model, Session, _checkpoint  # noqa: E402
from adcli.nn.devices import exact_float32, repeatable  # noqa: E402
from adcli.nn.runtime import ModelRuntime  # noqa: E402
from adcli.scoring.scorer import Scorer, score_inputs  # noqa: E402

BAR = 1e-3
"""What scores of CPU and GPU may differ by, as a share of their range."""

MODELS = ("padim", "patchcore", "dfkde", "dfm", "stfpm", "reverse_distillation", "cflow", "ganomaly")
ONE_PASS = MODELS[:4]


@dataclass
class Bench:
    """What the parts share: where to compute, how much, and what was found.

    Attributes:
        device: that is measured.
        quick: tiny sizes, to see that everything runs.
        until: when the time is up, by the monotonic clock.
        rows: of the table: what, figure, bar or note.
        found: all figures, for the JSON file.
    """

    device: torch.device
    quick: bool
    until: float
    json: Path | None
    folder: Path
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def note(self, what: str, figure: str, more: str = "", **values: Any) -> None:
        """Add a row, print it, and write all figures so far."""
        self.rows.append((what, figure, more))
        self.found[what] = {"figure": figure, "note": more, **values}
        print(f"{what}: {figure} {more}".rstrip(), flush=True)
        if self.json is not None:
            self.json.write_text(json.dumps(self.found, indent=1))

    def pick(self, full: int, quick: int) -> int:
        """Return a size."""
        return quick if self.quick else full

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - time.monotonic()

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return how long something takes, what it leaves to the device included."""
        self.synchronise()
        start = time.perf_counter()
        work()
        self.synchronise()
        return time.perf_counter() - start

    def median(self, work: Callable[[], object], times: int, warm_up: int = 3) -> float:
        """Return the median seconds of several runs after some to warm up."""
        for _ in range(warm_up):
            work()
        return float(np.median([self.seconds(work) for _ in range(times)]))

    @contextlib.contextmanager
    def peak(self) -> Iterator[list[float]]:
        """Yield a list that holds the card's peak memory in MB afterwards."""
        peak: list[float] = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        yield peak
        peak.append(torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else 0.0)


def pictures(count: int, size: tuple[int, int], seed: int = 0, *, damaged: bool = False) -> np.ndarray:
    """Draw striped and noisy images (N, H, W, 3), each with a dark spot if damaged."""
    random = np.random.default_rng(seed)
    stripes = 128 + 50 * np.sin(np.arange(size[1]) / 5 + random.uniform(0, 6, (count, 1, 1)))
    values = stripes[..., None] + random.normal(0, 12, (count, *size, 3))
    if damaged:
        values[:, size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] *= 0.3
    return values.clip(0, 255).astype(np.uint8)


def vary(images: np.ndarray, times: int) -> np.ndarray:
    """Return images so many times, shifted differently each time, which takes less time than to draw them."""
    return np.concatenate([np.roll(images, (5 * i, 3 * i), axis=(1, 2)) for i in range(times)])


def cached_source(images: np.ndarray) -> tuple[list[Item], ImageSource]:
    """Return items and a source that has them all in its cache."""
    source = ImageSource((images.shape[1], images.shape[2]), workers=workers(), cache_bytes=1 << 40)
    items = [Item(Path(f"{i}.png")) for i in range(len(images))]
    source._cache.update({item: Decoded(pixels, (1, 1), "") for item, pixels in zip(items, images, strict=True)})
    return items, source


def workers() -> int:
    return min(len(os.sched_getaffinity(0)), 16)


def make(name: str, size: tuple[int, int], **options: object) -> Model:
    """Make a model on the CPU; its random weights do not depend on the device."""
    provided = registry().models[name]
    model: Model = provided.load(provided.spec.target)(
        provided.spec.options.parse(options), image_size=size, pretrained=True
    )
    return model


def fit(
    model: Model, images: np.ndarray, device: torch.device, batch_size: int = 8, checkpoints: Path | None = None
) -> Model:
    """Fit a model to images on a device, all of them cached."""
    items, source = cached_source(images)
    session = Session(device=device, checkpoints=checkpoints)
    model.to(device).fit(Batches(items, source, batch_size=batch_size, session=session))
    return model.eval()


def score(model: Model, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the scores of images, as predictions are scored."""
    items, source = cached_source(images)
    runtime = ModelRuntime(model.to(device).eval(), device)
    return np.array([found[2] for found in score_inputs(runtime, source.stream(items), 16)])


def compare(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the range."""
    return float(np.abs(found - expected).max() / (expected.max() - expected.min()))


def quick_options(name: str) -> dict[str, object]:
    """Return options that make a model small."""
    options = {**registry().models[name].spec.quick}
    return {**options, "epochs": 2} if "epochs" in options else options


# What must be right.


def check_scores(bench: Bench) -> None:
    """Compare CPU and GPU: the same fitted model scored on both, and models fitted on each."""
    cpu, size = torch.device("cpu"), (64, 64) if bench.quick else (128, 128)
    good, new = pictures(bench.pick(24, 12), size), pictures(4, size, seed=1)
    new = np.concatenate([new, pictures(4, size, seed=2, damaged=True)])
    for name in MODELS:
        try:
            small = (32, 32) if name == "ganomaly" else size
            mine, other = (part[:, : small[0], : small[1]].copy() for part in (good, new))
            with repeatable(0):
                fitted = fit(make(name, small, **quick_options(name)), mine, cpu)
            expected = score(fitted, other, cpu)
            same = compare(score(fitted, other, bench.device), expected)
            with repeatable(0):
                again = fit(make(name, small, **quick_options(name)), mine, bench.device)
            each = compare(score(again, other, bench.device), expected)
            good_enough = same <= BAR and (each <= BAR or name not in ONE_PASS)
            bench.note(
                f"scores {name}",
                f"{same:.1e} scored, {each:.1e} fitted there",
                f"bar {BAR:g}{'' if name in ONE_PASS else ' (scored)'}: {'held' if good_enough else 'MISSED'}",
                scored=same,
                fitted=each,
            )
        except Exception as error:  # One model that fails must not lose the others.
            bench.note(f"scores {name}", "FAILED", describe(error))


def check_resume(bench: Bench) -> None:
    """Interrupt a training after its first epoch, continue it, and compare with one that was not interrupted."""
    size = (64, 64)
    good, options = pictures(12, size), {**registry().models["stfpm"].spec.quick, "epochs": 4}

    def train(checkpoints: Path | None) -> dict[str, Tensor]:
        with repeatable(0):
            return fit(make("stfpm", size, **options), good, bench.device, checkpoints=checkpoints).weights()

    class StoppedError(Exception):
        """Stands for an interruption."""

    save, seconds = _checkpoint.save_checkpoint, _checkpoint.CHECKPOINT_SECONDS

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise StoppedError

    whole, checkpoints = train(None), bench.folder / "checkpoints"
    try:
        _checkpoint.CHECKPOINT_SECONDS = 0.0
        _checkpoint.save_checkpoint = save_and_stop  # type: ignore[assignment]
        with contextlib.suppress(StoppedError):
            train(checkpoints)
        _checkpoint.save_checkpoint = save
        resumed = train(checkpoints)
    finally:
        _checkpoint.save_checkpoint, _checkpoint.CHECKPOINT_SECONDS = save, seconds
    different = [name for name, tensor in whole.items() if not torch.equal(tensor, resumed[name])]
    bench.note("resumed training", f"{len(different)} of {len(whole)} tensors differ", "bar 0 (to the bit)")


PAIR = ("padim", "patchcore", "dfm", "stfpm")


def check_processes(bench: Bench) -> None:
    """Fit in two processes on one card, and compare the scores with those of one process."""
    from adcli.testing.processes import environments

    size = (64, 64)
    good, new = pictures(16, size), pictures(8, size, seed=1)
    new[4:] = pictures(4, size, seed=2, damaged=True)
    outputs = [bench.folder / f"process{i}.json" for i in range(2)]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", str(output), "--device", str(bench.device)],
            env={**environment, "ADCLI_GPU_CHILD": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for output, environment in zip(outputs, environments(2), strict=True)
    ]
    try:
        said = [process.communicate(timeout=max(bench.left(), 10))[1] for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
    if any(process.returncode for process in started):
        lines = [line for text in said for line in text.strip().splitlines()[-1:]]
        bench.note("two processes, one card", "FAILED", " / ".join(lines)[:200])
        return
    first, second = (json.loads(output.read_text()) for output in outputs)
    for name in PAIR:
        with repeatable(0):
            alone = score(fit(make(name, size, **quick_options(name)), good, bench.device), new, bench.device)
        apart = compare(np.array(first[name]), np.array(second[name]))
        difference = compare(np.array(first[name]), alone)
        bench.note(
            f"two processes {name}",
            f"{apart:.1e} apart, {difference:.1e} from one",
            "bar 0 apart" + ("" if name in ONE_PASS else "; batch norms see half a batch each"),
            apart=apart,
            difference=difference,
        )


def run_child(output: Path, device: torch.device) -> None:
    """Fit as one of two processes on one card.

    NCCL wants a card for each process, so tensors are exchanged by gloo, on the CPU.
    """
    from torch import distributed as dist

    from adcli.nn import distributed

    make_group, reduce, collect, copy = dist.init_process_group, dist.all_reduce, dist.all_gather, dist.broadcast

    def through_cpu(exchange: Callable[..., Any]) -> Callable[..., None]:
        def work(tensor: Tensor, *arguments: Any) -> None:
            there = tensor.cpu()
            exchange(there, *arguments)
            tensor.copy_(there)

        return work

    def collect_through_cpu(parts: list[Tensor], tensor: Tensor) -> None:
        there = [part.cpu() for part in parts]
        collect(there, tensor.cpu())
        for part, value in zip(parts, there, strict=True):
            part.copy_(value)

    dist.init_process_group = lambda _, **more: make_group("gloo", **more)
    dist.all_reduce, dist.broadcast = through_cpu(reduce), through_cpu(copy)  # type: ignore[assignment]
    dist.all_gather = collect_through_cpu  # type: ignore[assignment]
    size, found = (64, 64), {}
    good, new = pictures(16, size), pictures(8, size, seed=1)
    new[4:] = pictures(4, size, seed=2, damaged=True)
    with distributed.joined():
        for name in PAIR:
            with repeatable(0):
                model = fit(make(name, size, **quick_options(name)), good, device, batch_size=4)
            found[name] = score(model, new, device).tolist()
    output.write_text(json.dumps(found))


def check_commands(bench: Bench) -> None:
    """Train, export and predict from files, as the commands do."""
    from adcli import pipeline

    size, data = (64, 64), bench.folder / "data"
    for part, images in {
        "train/good": pictures(20, size),
        "test/good": pictures(4, size, 1),
        "test/spot": pictures(4, size, 2, damaged=True),
    }.items():
        (data / part).mkdir(parents=True)
        for i, pixels in enumerate(images):
            Image.fromarray(pixels).save(data / part / f"{i:02}.png")
    settings = pipeline.TrainSettings.parse(
        {
            "model": "padim",
            "data": str(data),
            "options": {"backbone": "random:resnet18", "dimensions": 20},
            "image_size": "64",
            "device": str(bench.device),
        }
    )
    seconds = bench.seconds(lambda: pipeline.train(settings, out=bench.folder / "run"))
    run = pipeline.load(bench.folder / "run")
    there = predict(pipeline.open_scorer(run, device=str(bench.device)), data / "test")
    here = predict(pipeline.open_scorer(run, device="cpu"), data / "test")
    bench.note("train and predict", f"{seconds:.1f} s, {compare(there, here):.1e}", f"bar {BAR:g}")
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None:
        bench.note("export to ONNX", "left out", "onnx or onnxruntime is not installed")
        return
    scores = predict(pipeline.open_scorer(pipeline.export(run, "onnx")), data / "test")
    bench.note("export to ONNX", f"{compare(scores, there):.1e}", f"bar {BAR:g}")


def predict(scorer: Scorer, folder: Path) -> np.ndarray:
    """Return the scores of the images in a folder."""
    from adcli import pipeline

    return np.array([prediction.score for prediction in pipeline.predict(scorer, folder)])


def check_waits(bench: Bench) -> None:
    """Count how often a batch makes the program wait for the card: by fits of four and of eight batches."""
    if bench.device.type != "cuda":
        bench.note("waits", "left out", "no GPU")
        return
    images = pictures(64, (64, 64))
    for name in MODELS:
        mine = images[:, :32, :32] if name == "ganomaly" else images
        options = {**quick_options(name), **({"epochs": 1} if name not in ONE_PASS else {})}
        counts, places = [], Counter[str]()
        for count in (32, 64):
            with repeatable(0), warnings.catch_warnings(record=True) as caught:
                model = make(name, mine.shape[1:3], **options).to(bench.device)
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    fit(model, mine[:count].copy(), bench.device)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            waits = [warning for warning in caught if "synchroniz" in str(warning.message)]
            counts.append(len(waits))
            places.update(f"{Path(warning.filename).name}:{warning.lineno}" for warning in waits)
        most = ", ".join(f"{place} {count}" for place, count in places.most_common(3))
        bench.note(f"waits {name}", f"{(counts[1] - counts[0]) / 4:.2f} a batch", most)


# How fast it is.

SHAPES: dict[str, dict[str, object]] = {
    "padim": {"backbone": "random:resnet18", "layers": (1, 2, 3)},
    "dfm": {"backbone": "random:resnet18", "layers": (3,)},
    "dfkde": {"backbone": "random:resnet50", "layers": (4,), "components": 4},
    "patchcore": {"backbone": "random:wide_resnet50_2", "layers": (2, 3), "coreset": 0.01},
}


def find_backbone(model: Model) -> Backbone:
    return next(module for module in model.modules() if isinstance(module, Backbone))


def measure_rates(bench: Bench) -> None:
    """Measure images a second of fit and predict beside the bare forward, eager and compiled, images cached."""
    side = bench.pick(256, 64)
    images = vary(pictures(bench.pick(64, 8), (side, side)), bench.pick(32, 2))
    # By default, a fit of as many patches chooses a quarter of them in chunks, to hold no more at once.
    held = {"patchcore -o patches=2000000": {**SHAPES["patchcore"], "patches": 2_000_000}}
    for name, options in (SHAPES | held).items():
        if bench.left() < bench.pick(60, 5):
            bench.note(f"rate {name}", "left out", "no time left")
            continue
        # Its network takes three times as long as the others'.
        some = images[: len(images) // 2] if name.startswith("patchcore") else images
        measure_rate(bench, name, shrink(bench, options), some)


def shrink(bench: Bench, options: dict[str, object]) -> dict[str, object]:
    """Return options with a small backbone if all is to be quick."""
    return {**options, "backbone": "random:resnet18"} if bench.quick and "backbone" in options else options


def measure_rate(bench: Bench, name: str, options: dict[str, object], images: np.ndarray) -> None:
    """Measure one model, whose name begins the row's."""
    size, batch, count, model_name = images.shape[1:3], bench.pick(32, 4), len(images), name.split()[0]
    with repeatable(0), torch.inference_mode():
        backbone = find_backbone(make(model_name, size, **options).to(bench.device))
        pixels = torch.rand(batch, 3, *size, device=bench.device)
        eager = batch / bench.median(lambda: backbone(pixels), bench.pick(20, 2))
        compiled, said = compile_backbone(bench, backbone, pixels)
    best = max(eager, compiled)
    with repeatable(0), bench.peak() as fitting:
        fit(make(model_name, size, **options), images[: 8 * batch], bench.device, batch)
        model = make(model_name, size, **options).to(bench.device)
        fitted = count / bench.seconds(lambda: fit(model, images, bench.device, batch))
    with bench.peak() as predicting:
        score_all(bench, model, images[: 2 * batch], batch)
        predicted = count / bench.seconds(lambda: score_all(bench, model, images, batch))
    bench.note(
        f"rate {name}",
        f"fit {fitted:.0f}, predict {predicted:.0f} images/s; forward {eager:.0f} eager, {said} compiled",
        f"fit {fitted / best:.2f}, predict {predicted / best:.2f} of the faster; bar 0.8; "
        f"{fitting[0]:.0f} and {predicting[0]:.0f} MB",
        fit=fitted,
        predict=predicted,
        eager=eager,
        compiled=compiled,
    )


def compile_backbone(bench: Bench, backbone: Backbone, pixels: Tensor) -> tuple[float, str]:
    """Return the compiled network's images a second, and in words."""
    # Compiling takes most of a minute; to see that it runs, once will do.
    if bench.left() < bench.pick(150, 30) or (bench.quick and "rate padim" in bench.found):
        return 0.0, "not"
    try:
        network = torch.compile(backbone)
        return rate(bench, lambda: network(pixels), len(pixels))
    except Exception as error:  # A compiler may be missing.
        return 0.0, f"not ({describe(error)[:60]})"


def rate(bench: Bench, work: Callable[[], object], count: int) -> tuple[float, str]:
    found = count / bench.median(work, bench.pick(20, 2))
    return found, f"{found:.0f}"


def score_all(bench: Bench, model: Model, images: np.ndarray, batch: int) -> None:
    items, source = cached_source(images)
    for _ in score_inputs(ModelRuntime(model.eval(), bench.device), source.stream(items), batch):
        pass


def measure_latency(bench: Bench) -> None:
    """Measure one image at a time: the bare network, the model, and from pixels to scores, also as a CUDA graph."""
    side = bench.pick(256, 64)
    good = pictures(bench.pick(64, 8), (side, side))
    for name, options in SHAPES.items():
        with repeatable(0):
            model = fit(make(name, (side, side), **shrink(bench, options)), good, bench.device)
        with exact_float32(), torch.inference_mode():
            measure_one_image(bench, name, model, good[:1])


def measure_one_image(bench: Bench, name: str, model: Model, image: np.ndarray) -> None:
    """Measure one fitted model with one image."""
    runtime, backbone, times = ModelRuntime(model, bench.device), find_backbone(model), bench.pick(50, 3)
    pixels = torch.rand(1, 3, *image.shape[1:3], device=bench.device)
    forward = bench.median(lambda: backbone(pixels), times)
    whole = bench.median(lambda: runtime(image), times)
    figures = [capture(bench, work) for work in (lambda: backbone(pixels), lambda: model(pixels))]
    graphs = " / ".join("-" if figure is None else f"{1000 * figure:.2f}" for figure in figures)
    bench.note(
        f"latency {name}",
        f"forward {1000 * forward:.2f} ms, pixels to scores {1000 * whole:.2f} ms",
        f"{1000 * (whole - forward):+.2f}, bar +1.5; as CUDA graphs, network / model: {graphs} ms",
        forward=forward,
        whole=whole,
        graphs=figures,
    )


def capture(bench: Bench, work: Callable[[], object]) -> float | None:
    """Return the median seconds of a CUDA graph, or None if there is none."""
    if bench.device.type != "cuda":
        return None
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return bench.median(graph.replay, 50)
    except RuntimeError as error:
        print(f"  no CUDA graph: {describe(error)}", flush=True)
        return None


def measure_coreset(bench: Bench) -> None:
    """Measure the coreset of two million points, and a fit of PatchCore that keeps a tenth of a thousand images."""
    from adcli_patchcore.coreset import greedy_k_centre

    count = bench.pick(2_000_000, 4_000)
    picks = count // 100
    with repeatable(0), bench.peak() as memory:
        points = torch.randn(count, 128).to(bench.device) @ torch.randn(128, 128).to(bench.device) / 10
        list(greedy_k_centre(points[:3000], 30))
        seconds = bench.seconds(lambda: list(greedy_k_centre(points, picks)))
    bench.note(
        f"coreset {count:,} x 128, 1 %", f"{seconds:.2f} s", f"{picks / seconds:.0f} picks/s, {memory[0]:.0f} MB"
    )
    measure_tenth(bench)


def measure_tenth(bench: Bench) -> None:
    """Measure a fit of PatchCore that keeps a tenth of the patches of a thousand images."""
    side, batch, total = bench.pick(256, 64), bench.pick(32, 4), bench.pick(1000, 12)
    images = vary(pictures(50, (side, side)), 20)[:total]
    network = "random:resnet18" if bench.quick else "random:wide_resnet50_2"
    with repeatable(0):
        model = make("patchcore", (side, side), backbone=network, coreset=0.1).to(bench.device)
        backbone, pixels = find_backbone(model), torch.rand(batch, 3, side, side, device=bench.device)
        with torch.inference_mode():
            forward = total / batch * bench.median(lambda: backbone(pixels), bench.pick(10, 2))
        seconds = bench.seconds(lambda: fit(model, images, bench.device, batch))
    bench.note(
        f"PatchCore, 10 % of {total}",
        f"{seconds:.2f} s, forward {forward:.2f} s",
        f"{seconds / forward:.1f} times the forward, bar 3; a bank of {len(model.get_buffer('bank'))}",
    )


EPOCHS: dict[str, tuple[dict[str, object], int, int]] = {
    "stfpm": ({"backbone": "random:resnet18", "held_out": 0.0}, 256, 200),
    "reverse_distillation": ({"backbone": "random:wide_resnet50_2"}, 256, 200),
    "ganomaly": ({}, 32, 200),
    "cflow": ({"backbone": "random:wide_resnet50_2"}, 256, 16),
}


def measure_epochs(bench: Bench) -> None:
    """Measure what an epoch of the trained models takes: what three epochs more take, by three."""
    for name, (options, side, count) in EPOCHS.items():
        if bench.left() < bench.pick(40, 5):
            bench.note(f"epoch {name}", "left out", "no time left")
            continue
        if bench.quick:
            options, side, count = (
                shrink(bench, options) | ({} if "backbone" in options else {"features": 8}),
                min(side, 64),
                8,
            )
            options |= {"coupling_blocks": 1, "layers": (1, 2)} if name == "cflow" else {}
        measure_epoch(bench, name, options, pictures(count, (side, side)))


def measure_epoch(bench: Bench, name: str, options: dict[str, object], images: np.ndarray) -> None:
    """Measure one model."""

    def train(epochs: int) -> float:
        with repeatable(0):
            model = make(name, images.shape[1:3], **options, epochs=epochs).to(bench.device)
            return bench.seconds(lambda: fit(model, images, bench.device, 16))

    more, count = bench.pick(3, 1), len(images)
    with bench.peak() as memory:
        first = train(1)
        each = (train(1 + more) - min(first, train(1))) / more
    bench.note(f"epoch {name}", f"{each:.3f} s for {count} images", f"{count / each:.0f} images/s, {memory[0]:.0f} MB")


def measure_decoding(bench: Bench) -> None:
    """Measure what threads decode from files, beside what the card takes, and a fit from files."""
    side = bench.pick(256, 64)
    folder = bench.folder / "photographs"
    folder.mkdir()
    for i, pixels in enumerate(pictures(bench.pick(32, 6), (bench.pick(900, 100), bench.pick(900, 100)))):
        Image.fromarray(pixels).save(folder / f"{i:03}.jpg", quality=90)
    # With no cache, the same files are decoded again and again.
    items = [Item(path) for path in sorted(folder.glob("*.jpg"))] * bench.pick(16, 1)
    fastest = 0.0
    for threads in (1, 4, 8, 16, 32) if not bench.quick else (1, 2):
        part = items[: len(items) // 8] if threads == 1 and not bench.quick else items
        stream = ImageSource((side, side), workers=threads, cache_bytes=0).stream(part)
        rate = len(part) / bench.seconds(partial(deque, stream, 0))
        fastest = max(fastest, rate)
        bench.note(f"decode, {threads} threads", f"{rate:.0f} images/s", f"{len(os.sched_getaffinity(0))} cores")
    with repeatable(0):
        model = make("padim", (side, side), **SHAPES["padim"]).to(bench.device)
        source = ImageSource((side, side), workers=workers(), cache_bytes=0)
        batches = Batches(items, source, batch_size=bench.pick(32, 4), session=Session(device=bench.device))
        rate = len(items) / bench.seconds(lambda: model.fit(batches))
    appetite = bench.found.get("rate padim", {}).get("eager", 0.0)
    bench.note(
        "fit padim from files",
        f"{rate:.0f} images/s",
        f"{rate / fastest:.2f} of what threads decode, bar 0.8; the card takes {appetite:.0f}",
    )


def describe(error: BaseException) -> str:
    """Return an error and its innermost line of ours, on one line."""
    lines = traceback.extract_tb(error.__traceback__)
    ours = [line for line in lines if str(ROOT) in line.filename]
    place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}{place}"


PARTS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "scores": (check_scores, 20),
    "coreset": (measure_coreset, 20),
    "latency": (measure_latency, 20),
    "rates": (measure_rates, 60),
    "epochs": (measure_epochs, 40),
    "decoding": (measure_decoding, 30),
    "waits": (check_waits, 10),
    "resume": (check_resume, 5),
    "processes": (check_processes, 40),
    "commands": (check_commands, 30),
}
"""Parts, and the seconds each needs at least."""


def run(bench: Bench, names: Sequence[str]) -> None:
    """Run parts in their order while there is time."""
    for name in names:
        work, seconds = PARTS[name]
        if bench.left() < (5 if bench.quick else seconds):
            bench.note(name, "left out", f"{bench.left():.0f} s left, it needs {seconds}")
            continue
        start = time.monotonic()
        try:
            with exact_float32():
                work(bench)
        except Exception as error:  # One part that fails must not lose the others.
            traceback.print_exc()
            bench.note(name, "FAILED", describe(error))
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"-- {name}: {time.monotonic() - start:.0f} s, {bench.left():.0f} s left", flush=True)


def introduce(bench: Bench) -> None:
    """Note the machine."""
    card = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "no GPU"
    bench.note("machine", card, f"torch {torch.__version__}, {len(os.sched_getaffinity(0))} cores")
    if bench.device.type == "cuda":
        with exact_float32():
            matrix = torch.randn(8192, 8192, device=bench.device)
            seconds = bench.median(lambda: matrix @ matrix, 5)
        bench.note("matrix product, float32", f"{2 * 8192**3 / seconds / 1e12:.0f} TFLOP/s", "without TF32")


def main() -> None:
    """Parse the command line, run the parts, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument(
        "--json", type=Path, default=Path(os.environ["OUT"]) / "gpu.json" if "OUT" in os.environ else None
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        run_child(arguments.child, torch.device(arguments.device))
        return
    with tempfile.TemporaryDirectory() as folder:
        until = time.monotonic() + arguments.seconds
        bench = Bench(torch.device(arguments.device), arguments.quick, until, arguments.json, Path(folder))
        introduce(bench)
        run(bench, arguments.parts or list(PARTS))
    print("\n| | | |\n|---|---|---|")
    for row in bench.rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
