"""Score images with the exported graph in this folder: python example.py IMAGE ..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

folder = Path(__file__).parent
threshold = json.loads((folder / "calibration.json").read_text())["image_threshold"]
session = ort.InferenceSession(next(folder.glob("*/1/model.onnx")), providers=["CPUExecutionProvider"])
batch = session.get_inputs()[0].shape[0]
for path in sys.argv[1:]:
    if (folder / "prepare.py").exists():
        from prepare import read  # the run's --region, --crop, --fit, --ignore and --reading

        pixels = read(path)
    else:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    images = np.stack([pixels] * (batch if isinstance(batch, int) else 1))
    score = float(session.run(["score"], {"images": images})[0][0])
    verdict = "no threshold" if threshold is None else "defect" if score > threshold else "good"
    print(f"{path}: {score:.6g} {verdict}")
