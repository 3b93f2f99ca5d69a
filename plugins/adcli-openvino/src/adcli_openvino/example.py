"""Score images with the exported graph in this folder: python example.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from PIL import Image, ImageOps

folder = Path(__file__).parent
threshold = json.loads((folder / "calibration.json").read_text())["image_threshold"]
graph = ov.Core().read_model(next(folder.glob("*/1/model.xml")))
# Otherwise OpenVINO computes in bfloat16 if it can, and scores change by several percent.
model = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
batch = graph.input("images").get_partial_shape()[0]
for path in sys.argv[1:]:
    if (folder / "prepare.py").exists():
        from prepare import read  # the run's --region, --crop, --fit, --ignore and --reading

        pixels = read(path)
    else:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    images = np.stack([pixels] * (batch.get_length() if batch.is_static else 1))
    score = float(model(images)["score"][0])
    verdict = "no threshold" if threshold is None else "defect" if score > threshold else "good"
    print(f"{path}: {score:.6g} {verdict}")
