"""Try every model of the installed anomalib, each in a process of its own, and write the README's table.

    python tools/try_models.py [--models padim,cfa] [--seconds 900] [--work FOLDER]

A model is trained for two steps or a pass on sixteen small images of the demo data with random weights, as no hub is
asked; it is saved, and restored as from a run; it scores test images, alone and in a batch; and it is converted to
OpenVINO as the exporter does. So the table says what works, and nothing of accuracy. Where a model is large, a smaller
backbone that it allows stands in. Results are kept in a file, so that the table can be written again, or some models
be tried anew.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

PLUGIN = Path(__file__).parent.parent
BEGIN, END = "<!-- models -->", "<!-- /models -->"
SAME, AGREES = 1e-4, 1e-3
"""Largest differences of two scores that count as the same, and of a graph's, relative to the range of all."""


EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without it, OpenVINO would compute in bfloat16 where a processor can."""


@dataclass(frozen=True)
class Try:
    """How a model is tried: the weights that it starts from by default, and what keeps it small here."""

    weights: str
    size: int = 128
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 4


DINO_S = "vit_small_patch14_dinov2"
TRIES = {
    "anomaly_dino": Try("DINOv2 ViT-S/14", 126),
    "anomalyvfm": Try("its own (hub), on RADIO ViT-L/16", 224),
    "cfa": Try("Wide ResNet-50", options={"backbone": "resnet18"}),
    "cflow": Try("Wide ResNet-50", 64, {"backbone": "resnet18", "layers": ("layer2", "layer3"), "coupling_blocks": 2}),
    "cfm": Try("DINO ViT-B/8 and Point-MAE"),
    "csflow": Try("EfficientNet-B5", options={"cross_conv_hidden_channels": 64}),
    "dfkde": Try("ResNet-18", options={"n_pca_components": 4}),
    "dfm": Try("ResNet-50"),
    "dinomaly": Try("DINOv2 ViT-B/14 with registers", 112, {"encoder_name": "vit_small_patch14_reg4_dinov2"}),
    "draem": Try("none; textures to damage images with (`dtd_dir`)"),
    "dsr": Try("its own quantised autoencoder (download)"),
    "efficient_ad": Try("its own teacher (download); ImageNette (`imagenet_dir`)", 256, batch_size=1),
    "fastflow": Try("ResNet-18"),
    "foundad": Try("DINOv2 ViT-B/14", 112, {"encoder_name": "dinov2_vit_small_14"}),
    "fre": Try("ResNet-50", options={"input_dim": 16384}),
    "ganomaly": Try("none"),
    "general_ad": Try("DINOv2 ViT-L/14", 112, {"backbone": f"{DINO_S}.lvd142m", "layers": (12,)}),
    "glass": Try("Wide ResNet-50"),
    "inp_former": Try("DINOv2 ViT-B/14 with registers", 112, {"encoder_name": "vit_small_patch14_reg4_dinov2"}),
    "l2bt": Try("DINOv2 ViT-B/14", 224),
    "mh_patchcore": Try("Wide ResNet-50", options={"backbone": "resnet18", "memory_bank_size": 200}),
    "padim": Try("ResNet-18", 64),
    "patchcore": Try("Wide ResNet-50", options={"backbone": "resnet18"}),
    "patchflow": Try("EfficientNet-B5", 256),
    "rad": Try("DINOv3 ViT-B/16", options={"backbone": "vit_small_patch16_dinov3"}),
    "reverse_distillation": Try("Wide ResNet-50", options={"backbone": "resnet18"}),
    "stfpm": Try("ResNet-18"),
    "super_add": Try("DINOv3 ViT-H+/16", options={"backbone": "vit_small_patch16_dinov3", "patch_size": 128}),
    "supersimplenet": Try("Wide ResNet-50", options={"backbone": "resnet18"}),
    "uflow": Try("CaiT-M48 and CaiT-S24", 448, {"backbone": "resnet18"}),
    "uninet": Try("Wide ResNet-50, twice"),
    "vlm_ad": Try("a language model, or its service"),
    "winclip": Try("CLIP ViT-B/16+ (LAION-400M)", 240, {"class_name": "metal part"}, 2),
}
STEPS = {"cflow": 1, "glass": 1, "uflow": 1, "efficient_ad": 4, "dsr": 8}


def main() -> None:
    """Try the models that the command line asks for, and write the table of all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="all", help="names, with commas between; none for the table alone")
    parser.add_argument("--seconds", type=float, default=900, help="limit of each")
    parser.add_argument("--results", type=Path, default=PLUGIN / "tools/results.json")
    parser.add_argument("--work", type=Path, help="folder for images and runs, which stay; else a temporary one")
    parser.add_argument("--readme", type=Path, default=PLUGIN / "README.md")
    given = parser.parse_args()
    results = json.loads(given.results.read_text()) if given.results.is_file() else {}
    names = {"all": list(TRIES), "none": []}.get(given.models, given.models.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.work or Path(temporary)).absolute()
        if names and not (folder / "parts").is_dir():
            draw_images(folder)
        if names:
            torch.set_num_threads(1)  # threads do not survive a fork
            warnings.simplefilter("ignore")
            import_module("anomalib.models")
            import_module("openvino")
        for name in names:
            results[name] = try_apart(name, folder, given.seconds)
            print(name, json.dumps(results[name]), flush=True)
            given.results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    write_table(given.readme, results)


def draw_images(folder: Path) -> None:
    """Copy a few images of the demo data to ``parts``, and some to ``others``, which stand for those of other sets."""
    os.environ["ADCLI_CACHE"] = str(folder / "cache")
    from adcli import pipeline

    pipeline.inspect_data("demo")
    (demo,) = (folder / "cache").glob("demo*")
    wanted = {"train/good": 16, "test/good": 4, "test/scratch": 2, "test/dent": 2}
    for kind, count in wanted.items():
        for image in sorted((demo / kind).iterdir())[:count]:
            for place in (folder / "parts" / kind, *([folder / "others/any"] if kind == "train/good" else ())):
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, place)


def try_apart(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Try a model in a process of its own, and return what became of it."""
    # A forked process has what this one has imported, which would take it ten seconds.
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    found = folder / f"{name}.json"
    found.unlink(missing_ok=True)
    process = context.Process(target=write_result, args=(name, folder, found))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        return {"problem": f"took more than {seconds:.0f} seconds"}
    return dict(json.loads(found.read_text())) if found.is_file() else {"problem": f"code {process.exitcode}"}


def write_result(name: str, folder: Path, file: Path) -> None:
    """Write what became of a model into a file."""
    file.write_text(json.dumps(try_model(name, folder)))


def try_model(name: str, folder: Path) -> dict[str, Any]:
    """Train, restore, score and convert; runs in a process of its own."""
    from safetensors.torch import load_file, save_file

    from adcli.data import ImageSource, items_of
    from adcli.nn import Batches
    from adcli_anomalib.model import PeerModel

    tried, size, started = TRIES[name], (TRIES[name].size,) * 2, time.monotonic()
    seed_everything()
    options, source = choose_options(name, folder), ImageSource((tried.size,) * 2, workers=0)
    try:
        model = PeerModel(options, image_size=size)
        fitted = sorted((folder / "parts/train/good").iterdir())
        model.fit(Batches(items_of(fitted), source, batch_size=tried.batch_size))
        save_file(model.weights(), folder / f"{name}.safetensors")
        again = PeerModel(
            type(options).parse({**options.to_dict(), "pre_trained": True}), image_size=size, pretrained=False
        )
        again.restore(load_file(folder / f"{name}.safetensors"))
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"[:300]}
    images = next(iter(Batches(items_of(sorted((folder / "parts/test").rglob("*.png"))), source, batch_size=8)))
    try:
        result: dict[str, Any] = compare(model, again, images)
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"[:300]}
    result["openvino"] = convert(again, images)
    (folder / f"{name}.safetensors").unlink()
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def seed_everything() -> None:
    """Seed all that anomalib draws from."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def compare(model: Any, again: Any, images: Any) -> dict[str, Any]:
    """Compare the scores of a fitted model and a restored one, and those alone with those in a batch."""
    with torch.inference_mode():
        before, after = model(images), again(images)
        alone = torch.cat([again(image[None]).image for image in images])
    return {
        "finite": bool(before.image.isfinite().all()),
        "restored": relative(after.image, before.image),
        "batch": relative(alone, after.image),
        "map": None if before.map is None else list(before.map.shape),
    }


def relative(found: Any, expected: Any) -> float:
    """Return the largest difference of scores relative to their range, which rounding alone may be as large as."""
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) / max(float(expected.max() - expected.min()), 1e-3 * largest, 1e-12)


def convert(model: Any, images: Any) -> str:
    """Convert a model to OpenVINO as the exporter does, and say whether the graph gives the same scores."""
    import openvino

    from adcli import AdcliError
    from adcli_openvino.graph import convert as convert_graph

    try:
        graph = openvino.compile_model(convert_graph(model, tuple(images.shape[2:]), None), "CPU", EXACT)
        with torch.inference_mode():
            apart = max(
                relative(torch.from_numpy(graph(some.numpy())[0]), model(some).image) for some in (images, images[:2])
            )
    except AdcliError as error:
        return f"no: {error}"
    except RuntimeError as error:
        return f"no: the graph cannot be run: {error}"
    return "yes" if apart <= AGREES else f"no: scores differ by {apart:.1g} of their range"


def choose_options(name: str, folder: Path) -> Any:
    """Return a model's options: random weights, few steps, and images that stand for those of other sets."""
    from adcli_anomalib.listing import list_models

    (options,) = (spec.options for spec in list_models() if spec.name == f"anomalib_{name}")
    known = {each.name for each in options.describe()}
    usual = {"pre_trained": False, "steps": STEPS.get(name, 2), "epochs": 2 if name == "dsr" else 1}
    others = {"dtd_dir": folder / "others", "imagenet_dir": folder / "others"}
    given = {**usual, **others, **TRIES[name].options}
    return options.parse({key: value for key, value in given.items() if key in known})


def write_table(readme: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the table between its marks."""
    rows = [
        "| model | weights that it starts from | tried with | trains and predicts | OpenVINO |",
        "|---|---|---|---|---|",
    ]
    for name, tried in TRIES.items():
        result = results.get(name, {})
        said = ", ".join(f"`{key}={value}`" for key, value in tried.options.items() if not isinstance(value, tuple))
        works, exported = describe(result), describe_export(result.get("openvino", ""))
        rows.append(
            f"| `{name}` | {tried.weights} | {tried.size} px{', ' if said else ''}{said} | {works} | {exported} |"
        )
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n\n" + "\n".join(rows) + f"\n\n{END}{after}", encoding="utf-8")


def describe(result: Mapping[str, Any]) -> str:
    """Return whether a model works, in words."""
    if not result:
        return "not tried yet"
    if "problem" in result:
        return f"no: {result['problem']}"
    faults = [
        words
        for words, holds in (
            ("scores that are not finite", result["finite"]),
            ("a run that scores otherwise", result["restored"] <= SAME),
            ("scores that depend on the batch", result["batch"] <= SAME),
        )
        if not holds
    ]
    return f"with {' and '.join(faults)}" if faults else "yes"


def describe_export(result: str) -> str:
    """Return whether a model can be exported, in a few words."""
    if "batch" in result and "Constraint" in result:
        return "no: its graph is of one batch size"
    reason = result.removeprefix("no: ").removeprefix("the model cannot be converted to OpenVINO: ")
    return f"no: {reason.partition('; export it')[0][:90]}" if result.startswith("no") else result


if __name__ == "__main__":
    main()
