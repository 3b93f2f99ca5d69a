"""Train and test a model of anomalib on a folder, and print one line of JSON: what ``accuracy.py --peer`` runs.

    PYTHON benchmarks/peer.py --model padim --data FOLDER [--set backbone=resnet18] [--weights FILE] [--checkpoint FILE]

PYTHON is that of an environment with ``anomalib[cpu]``. The folder has train/good, test/good, test/DEFECT and
ground_truth/DEFECT/STEM_mask.png. Scores and maps are the model's own, before anomalib clamps them to a range.
``--weights`` takes a safetensors file that stands for the hub's weights of ``resnet18``. With ``--checkpoint``, a first
call fits and saves, and a second loads and predicts, as separate commands do.
"""

import argparse
import json
import logging
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

RESNET18 = "models--timm--resnet18.a1_in1k"
"""Where the hub's cache keeps what ``timm.create_model("resnet18", pretrained=True)`` asks for."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a + joins a list")
    parser.add_argument("--weights", type=Path, help="weights of resnet18")
    parser.add_argument("--checkpoint", type=Path, help="fit and save it; or predict with it where it exists")
    parser.add_argument("--maps-out", type=Path, help="an .npz of maps and the images they are of")
    return parser.parse_args()


def offer_weights(weights: Path, hub: Path) -> None:
    """Make a hub cache in which a file is the weights of resnet18; must come before timm is imported."""
    folder = hub / "hub" / RESNET18
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("0" * 40) / "model.safetensors").symlink_to(weights.resolve())
    os.environ |= {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"}


def value_of(text: str) -> Any:
    """Read a setting: a list where a + joins, a number, a truth value, or text."""
    if "+" in text:
        return [part for part in text.split("+") if part]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def fit_and_predict(arguments: argparse.Namespace) -> tuple[list[Any], float, float]:
    """Return the predicted batches, and the seconds that fitting and predicting took."""
    import torch
    from anomalib import models
    from anomalib.data import Folder
    from anomalib.engine import Engine

    torch.manual_seed(arguments.seed)
    model_class = getattr(models, "".join(part.capitalize() for part in arguments.model.split("_")))
    settings = {key: value_of(value) for key, _, value in (setting.partition("=") for setting in arguments.set)}
    processor = model_class.configure_pre_processor(image_size=(arguments.size, arguments.size))
    model = model_class(**settings, pre_processor=processor, evaluator=False, visualizer=False)
    defects = sorted(path.name for path in (arguments.data / "test").iterdir() if path.name != "good")
    data = Folder(
        name="folder",
        root=arguments.data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{defect}" for defect in defects],
        mask_dir=[f"ground_truth/{defect}" for defect in defects],
        train_batch_size=arguments.batch_size,
        eval_batch_size=arguments.batch_size,
        num_workers=0,
        val_split_mode="same_as_test",
    )
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"logger": False, "enable_progress_bar": False, "limit_val_batches": 0, "num_sanity_val_steps": 0}
        epochs = {"max_epochs": arguments.epochs} if arguments.epochs else {}
        engine = Engine(default_root_dir=folder, accelerator="cpu", devices=1, **quiet, **epochs)
        start = time.perf_counter()
        saved = arguments.checkpoint if arguments.checkpoint and arguments.checkpoint.exists() else None
        if not saved:
            engine.fit(model=model, datamodule=data)
        fitted = time.perf_counter()
        if arguments.checkpoint and not saved:
            engine.trainer.save_checkpoint(arguments.checkpoint)
            return [], fitted - start, 0.0
        model.post_processor = None
        batches = engine.predict(model=model, datamodule=data, return_predictions=True, ckpt_path=saved)
        return batches, fitted - start, time.perf_counter() - fitted


def save_maps(batches: list[Any], file: Path) -> None:
    """Save maps at the network's size, in half precision, and the paths of their images."""
    import numpy as np

    maps = [batch.anomaly_map.float().reshape(-1, *batch.anomaly_map.shape[-2:]).half() for batch in batches]
    np.savez(file, maps=np.concatenate(maps), paths=[path for batch in batches for path in batch.image_path])


def main() -> None:
    """Run, and print the line."""
    warnings.filterwarnings("ignore")
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as hub:
        if arguments.weights:
            offer_weights(arguments.weights, Path(hub))
        logging.getLogger().setLevel(logging.ERROR)
        batches, fit_seconds, predict_seconds = fit_and_predict(arguments)
    if not batches:
        print(json.dumps({"fit_s": round(fit_seconds, 1)}))
        return
    from sklearn.metrics import roc_auc_score

    scores = [score for batch in batches for score in batch.pred_score.flatten().tolist()]
    labels = [label for batch in batches for label in batch.gt_label.flatten().tolist()]
    if arguments.maps_out and batches[0].anomaly_map is not None:
        save_maps(batches, arguments.maps_out)
    result = {
        "image_auroc": round(float(roc_auc_score(labels, scores)), 4),
        "fit_s": round(fit_seconds, 1),
        "predict_s": round(predict_seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
