"""Score images with the exported graph in this folder: python example.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from PIL import Image, ImageOps

folder = Path(__file__).parent
calibration = json.loads((folder / "calibration.json").read_text())
graph = ov.Core().read_model(next(folder.glob("*/1/model.xml")))
# Otherwise OpenVINO computes in bfloat16 if it can, and scores change by several percent.
model = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
batch = graph.input("images").get_partial_shape()[0]
count = batch.get_length() if batch.is_static else 1
for path in sys.argv[1:]:
    if (folder / "prepare.py").exists():
        from prepare import read  # the run's --region, --crop, --fit, --ignore, --tiles and --reading

        parts = read(path)
    else:
        parts = {"": [np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))]}
    images = {zone: [np.stack([part] * count) for part in some] for zone, some in parts.items()}
    scores = {zone: max(float(model(image)["score"][0]) for image in some) for zone, some in images.items()}
    thresholds = {zone: calibration.get("zones", {}).get(zone, calibration)["image_threshold"] for zone in scores}
    found = [zone for zone, score in scores.items() if thresholds[zone] is not None and score > thresholds[zone]]
    verdict = "no threshold" if None in thresholds.values() else "defect" if found else "good"
    print(f"{path}:", *(f"{zone} {score:.6g}".strip() for zone, score in scores.items()), verdict)
