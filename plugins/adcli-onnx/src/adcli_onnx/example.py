"""Score images with the exported graph in this folder: python example.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

folder = Path(__file__).parent
calibration = json.loads((folder / "calibration.json").read_text())
session = ort.InferenceSession(next(folder.glob("*/1/model.onnx")), providers=["CPUExecutionProvider"])
batch = session.get_inputs()[0].shape[0]
count = batch if isinstance(batch, int) else 1
for path in sys.argv[1:]:
    if (folder / "prepare.py").exists():
        from prepare import read  # the run's --region, --crop, --fit, --ignore, --tiles and --reading

        parts = read(path)
    else:
        parts = {"": [np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))]}
    images = {zone: [np.stack([part] * count) for part in some] for zone, some in parts.items()}
    said = {zone: [session.run(["score"], {"images": image})[0][0] for image in some] for zone, some in images.items()}
    scores = {zone: float(max(some)) for zone, some in said.items()}
    thresholds = {zone: calibration.get("zones", {}).get(zone, calibration)["image_threshold"] for zone in scores}
    found = [zone for zone, score in scores.items() if thresholds[zone] is not None and score > thresholds[zone]]
    verdict = "no threshold" if None in thresholds.values() else "defect" if found else "good"
    print(f"{path}:", *(f"{zone} {score:.6g}".strip() for zone, score in scores.items()), verdict)
