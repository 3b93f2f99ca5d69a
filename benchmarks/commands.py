"""Print how long whole commands take, ours beside the peer's, as a Markdown table.

    python benchmarks/commands.py --data FOLDER --peer PYTHON [--model NAME...] [--backbone NAME...] [--rounds N]

150 good images are fitted and 75 good and 75 defective ones scored, drawn from a folder laid out as train/good, test,
ground_truth. Both sides are two commands, of which one fits and one scores, start-up included: ``adcli train`` and
``adcli predict``, and ``benchmarks/peer.py`` twice, PYTHON that of its environment. Both see the same images, weights,
size, batch size and epochs, one after the other; of several rounds the fastest counts. ``small`` in place of a model is
PaDiM on 12 and 4 images. Neither side measures anything of the scores; ours writes its report.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

EMBEDDED = Path(__file__).parents[1] / "plugins/adcli-embedded/src/adcli_embedded/resnet18.safetensors"
MOBILENET = "timm:mobilenetv2_100.ra_in1k"


class Case(NamedTuple):
    """A model at equal settings: ours are ``-o``, the peer's ``--set``, for each backbone its own; and their epochs."""

    ours: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    layers: tuple[str, str] = ("", "")
    epochs: int = 0
    batch: int = 32


FINE = ("", "layers=blocks.1+blocks.2+blocks.4")
CASES = {
    "small": Case(layers=FINE),
    "padim": Case(layers=FINE),
    "dfm": Case(peers=("pooling_kernel_size=2",), layers=("layer=layer3", "layer=blocks.4")),
    "dfkde": Case(layers=("layers=layer4+", "layers=blocks.6+")),
    "patchcore": Case(ours=("reweight=9",), layers=("layers=layer2+layer3", "layers=blocks.2+blocks.4")),
    "stfpm": Case(("learning_rate=1.6", "held_out=0"), layers=FINE, epochs=4, batch=8),
    "reverse_distillation": Case(epochs=4, batch=8),
    "cflow": Case(layers=("", "layers=blocks.2+blocks.4+blocks.6"), epochs=2),
    "cflow fibre=64": Case(("fibre=64",), layers=("", "layers=blocks.2+blocks.4+blocks.6"), epochs=2),
    "ganomaly": Case(epochs=30),
}
"""``learning_rate`` and ``held_out`` give STFPM the peer's steps, ``fibre=64`` CFlow as many, else a quarter."""


class Commands(NamedTuple):
    """What fits and predicts, on both sides."""

    ours: list[list[str]]
    peers: list[list[str]]


def drawn(data: Path, into: Path, fitted: int, tested: int) -> None:
    """Link images of a folder, drawn from a fixed seed: good ones to fit; half good ones, half defects, to test."""
    random = np.random.default_rng(0)
    good, good_tested = sorted(data.glob("train/good/*")), sorted(data.glob("test/good/*"))
    defects = sorted(path for path in data.glob("test/*/*") if path.parent.name != "good")
    for paths, count in ((good, fitted), (good_tested, tested // 2), (defects, tested - tested // 2)):
        for i in random.permutation(len(paths))[:count]:
            _link(paths[i], into / paths[i].relative_to(data))
            for mask in data.glob(f"ground_truth/{paths[i].parent.name}/{paths[i].stem}_mask.*"):
                _link(mask, into / mask.relative_to(data))


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path.resolve())


def commands(name: str, backbone: str, data: Path, out: Path, arguments: argparse.Namespace) -> Commands:
    """Return the commands of a case."""
    case, model = CASES[name], "padim" if name == "small" else name.split()[0]
    has_backbone = model != "ganomaly"
    size = "32" if model == "ganomaly" else "256"
    adcli = [sys.executable, "-m", "adcli"]
    train = [*adcli, "train", "--model", model, "--data", str(data / "train" / "good"), "--calibration", "none"]
    train += ["--image-size", size, "--batch-size", str(case.batch), "--precision", arguments.precision]
    train += ["--out", str(out), *(["--backbone", backbone] if has_backbone else [])]
    options = [*case.ours, *([f"epochs={case.epochs}"] if case.epochs else [])]
    train += [part for option in options for part in ("-o", option)]
    predict = [*adcli, "predict", str(out), str(data / "test"), "--format", "csv", "--batch-size", str(case.batch)]
    peer = [arguments.peer, str(Path(__file__).with_name("peer.py")), "--model", model, "--data", str(data)]
    peer += ["--size", size, "--batch-size", str(case.batch)]
    peer += ["--epochs", str(case.epochs)] if case.epochs else []
    mobile = backbone == MOBILENET
    settings = [*case.peers, *filter(None, [case.layers[mobile]])]
    settings += ["backbone=mobilenetv2_100" if mobile else "backbone=resnet18"] if has_backbone else []
    settings += ["n_features=100"] if model == "padim" and mobile else []
    peer += [part for setting in settings for part in ("--set", setting)]
    peer += ["--weights", str(EMBEDDED)] if has_backbone and not mobile else []
    peer += ["--checkpoint", str(out.with_suffix(".ckpt"))]
    return Commands([train, predict], [peer, peer])


def seconds(calls: Sequence[Sequence[str]]) -> float:
    """Run commands one after the other; return their wall time."""
    start = time.perf_counter()
    for call in calls:
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(call)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield "| model | backbone | epochs | adcli, s | anomalib, s | times faster |"
    yield "|---|---|---|---|---|---|"
    for name in arguments.model:
        for backbone in arguments.backbone if name != "ganomaly" else ["-"]:
            with tempfile.TemporaryDirectory() as folder:
                drawn(arguments.data, Path(folder, "data"), *((12, 4) if name == "small" else (150, 150)))
                ours, peers = np.inf, np.inf
                for i in range(arguments.rounds):
                    both = commands(name, backbone, Path(folder, "data"), Path(folder, f"run{i}"), arguments)
                    ours = min(ours, seconds(both.ours))
                    peers = min(peers, seconds(both.peers)) if arguments.peer else np.nan
            cells = (name, backbone.removeprefix("timm:"), CASES[name].epochs or "")
            yield f"| {' | '.join(map(str, cells))} | {ours:.1f} | {peers:.1f} | {peers / ours:.1f} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", help="the Python of an environment with anomalib[cpu]; without it, ours alone")
    parser.add_argument("--model", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--backbone", nargs="*", default=[MOBILENET, "embedded"])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=1)
    for line in rows(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
