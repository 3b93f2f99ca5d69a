"""Train and evaluate models, beside the peer where it is given, and print what came out as a Markdown table.

    python benchmarks/accuracy.py --results FILE --data FOLDER... --model NAME... --backbone NAME... [--peer COMMAND]
    python benchmarks/accuracy.py --results FILE --table

Every result is a line of JSON in the results file, and what stands there is not run again: the peer is slow. All good
images are fitted (``--calibration none``); nothing is tuned. ``--few N`` takes every so many-th image of a set, N good
ones to fit, and N to test, half of them good.

``--peer`` is a command such as ``PYTHON benchmarks/peer.py``, run instead of ours; ``--peer-set`` is what it must be
told. Maps are measured at the masks' own size, the peer's as ours.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from adcli.data.decoding import read_mask, resize_map
from adcli.metrics.pixels import PixelMetrics

KEY = ("tool", "model", "data", "backbone", "options", "seed", "size", "epochs")
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "fit_s", "predict_s", "peak_mb")

Row = dict[str, Any]


def run_measured(command: Sequence[str]) -> tuple[str, float, int]:
    """Run a command; return its output, its wall time in seconds and its peak memory in MB."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"{shlex.join(command)} failed:\n{errors[-2000:]}")
        output.seek(0)
        return output.read(), seconds, usage.ru_maxrss // 1024


def ours(arguments: argparse.Namespace, model: str, data: str, backbone: str, seed: int) -> Row:
    """Train and evaluate with adcli."""
    options = arguments.option + ([f"epochs={arguments.epochs}"] if arguments.epochs else [])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        command = [sys.executable, "-m", "adcli", "train", "--model", model, "--calibration", "none", "--json"]
        command += ["--image-size", str(arguments.size), "--batch-size", str(arguments.batch_size)]
        command += ["--seed", str(seed), "--out", str(out)]
        command += ["--data", data] if data != "demo" else []
        command += ["--backbone", backbone] if backbone != "-" else []
        command += [part for option in options for part in ("-o", option)]
        _, seconds, memory = run_measured(command)
        metrics = json.loads((out / "metrics.json").read_text())
        record = yaml.safe_load((out / "run.yaml").read_text())["record"]
    pixel = metrics.get("pixel", {})
    return {
        "image_auroc": metrics["image"]["auroc"],
        "pixel_auroc": pixel.get("auroc"),
        "aupro": pixel.get("aupro"),
        "fit_s": record["timings"]["fit_seconds"],
        "predict_s": metrics["timings"]["seconds"],
        "wall_s": round(seconds, 1),
        "peak_mb": memory,
    }


def peers(arguments: argparse.Namespace, model: str, data: str, seed: int) -> Row:
    """Train and evaluate with the peer."""
    with tempfile.TemporaryDirectory() as folder:
        maps = Path(folder, "maps.npz")
        call = [*shlex.split(arguments.peer), "--model", model, "--data", data, "--maps-out", str(maps)]
        call += ["--size", str(arguments.size), "--batch-size", str(arguments.batch_size), "--seed", str(seed)]
        call += ["--epochs", str(arguments.epochs)] if arguments.epochs else []
        call += [part for setting in arguments.peer_set for part in ("--set", setting)]
        output, seconds, memory = run_measured(call)
        result = json.loads(output.strip().splitlines()[-1])
        figures = pixel_metrics(maps, Path(data)) if maps.exists() else {}
    return {
        "image_auroc": result["image_auroc"],
        "pixel_auroc": figures.get("auroc"),
        "aupro": figures.get("aupro"),
        "fit_s": result["fit_s"],
        "predict_s": result["predict_s"],
        "wall_s": round(seconds, 1),
        "peak_mb": memory,
    }


def pixel_metrics(maps: Path, data: Path) -> dict[str, float]:
    """Measure saved maps as ours are measured: interpolated to the size of the mask, or of an image without one."""
    pixel = PixelMetrics()
    with np.load(maps) as saved:
        for anomaly_map, image in zip(saved["maps"], map(Path, saved["paths"]), strict=True):
            mask = _mask(image, data)
            pixel.update(resize_map(anomaly_map.astype(np.float32), (mask.shape[0], mask.shape[1])), mask)
    return pixel.result()


def _mask(image: Path, data: Path) -> NDArray[np.bool_]:
    found = list(data.glob(f"ground_truth/{image.parent.name}/{image.stem}_mask.*"))
    if found:
        return read_mask(found[0])
    with Image.open(image) as opened:
        return np.zeros((opened.height, opened.width), bool)


def thinned(data: Path, count: int, into: Path) -> Path:
    """Link evenly spread images of a data set: count good ones to fit; half as many good ones, and defects, to test."""
    folder = into / f"{data.name}-{count}"
    good = sorted((data / "train" / "good").iterdir())
    tested = sorted((data / "test" / "good").iterdir())
    defects = sorted(path for path in data.glob("test/*/*") if path.parent.name != "good")
    for path in [*_spread(good, count), *_spread(tested, count // 2), *_spread(defects, count // 2)]:
        _link(path, folder / path.relative_to(data))
        for mask in data.glob(f"ground_truth/{path.parent.name}/{path.stem}_mask.*"):
            _link(mask, folder / mask.relative_to(data))
    return folder


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    return [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(path.resolve())


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Return the lines of a Markdown table for each data set: ours / the peer's, seeds averaged."""
    ours_by, peers_by = _grouped(rows, "adcli", "options"), _grouped(rows, "peer")
    for data in sorted({group[0] for group in ours_by}):
        yield f"\n**{data}**\n"
        yield "| model | backbone | size | | image AUROC | pixel AUROC | AUPRO | fit s | predict s | peak MB |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for group in sorted(group for group in ours_by if group[0] == data):
            _, model, backbone, size, epochs, options = group
            sides = (ours_by[group], peers_by.get(group[:-1], []))
            trained = epochs and f"{epochs} epoch{'' if epochs == '1' else 's'}"
            how = ", ".join(filter(None, [trained, options]))
            cells = [" / ".join(filter(None, (_cell(name, side) for side in sides))) for name in FIGURES]
            yield f"| {' | '.join([model, backbone.removeprefix('timm:'), size, how, *cells])} |"


def _grouped(rows: Sequence[Row], tool: str, *more: str) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["tool"] == tool:
            key = tuple(str(row[name] or "") for name in ("data", "model", "backbone", "size", "epochs", *more))
            groups.setdefault(key, []).append(row)
    return groups


def _cell(name: str, rows: Sequence[Row]) -> str:
    found = [row[name] for row in rows if row[name] is not None]
    if not found:
        return ""
    digits = 3 if name in FIGURES[:3] else 1 if name.endswith("_s") else 0
    spread = f" ± {np.std(found, ddof=1):.3f}" if digits == 3 and len(found) > 1 else ""
    return f"{np.mean(found):.{digits}f}{spread}"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="JSON lines; results are added")
    parser.add_argument(
        "--data", nargs="*", default=[], help="folders laid out as train/good, test, ground_truth; demo"
    )
    parser.add_argument("--few", type=int, help="take as many images of each folder only")
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--backbone", nargs="*", default=["-"], help="- for a model that has none")
    parser.add_argument("--seed", nargs="*", type=int, default=[0])
    parser.add_argument("-o", "--option", nargs="*", default=[], help="KEY=VALUE, options of ours")
    parser.add_argument("--peer", help="the command that runs the peer, instead of ours")
    parser.add_argument("--size", type=int, default=256, help="of the networks' input")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, help="of a model that trains")
    parser.add_argument("--peer-set", nargs="*", default=[], help="KEY=VALUE, settings of the peer")
    parser.add_argument("--table", action="store_true", help="print all results")
    return parser.parse_args()


def main() -> None:
    """Run what is not in the results yet."""
    arguments = parse_arguments()
    results: Path = arguments.results
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        plan = product(arguments.data, arguments.model, arguments.backbone, arguments.seed)
        for reference, model, backbone, seed in plan:
            data = str(thinned(Path(reference), arguments.few, Path(folder))) if arguments.few else reference
            tool, options = ("peer", arguments.peer_set) if arguments.peer else ("adcli", arguments.option)
            key = (tool, model, Path(data).name, backbone, " ".join(options), seed, arguments.size, arguments.epochs)
            if key in done:
                continue
            if arguments.peer:
                found = peers(arguments, model, data, seed)
            else:
                found = ours(arguments, model, data, backbone, seed)
            rows.append(dict(zip(KEY, key, strict=True)) | found)
            with results.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(json.dumps(rows[-1]), flush=True)
    if arguments.table:
        print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
