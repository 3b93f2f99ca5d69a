"""Every model in every format, against the model itself, on pixels of any size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import own_models

import adcli
from adcli._plugins.registry import registry
from adcli.data.decoding import read_image, resize
from adcli.testing.exporters import Subject, subject_of

SIZE = (64, 64)
AGREES = 1e-3
EXPORTERS = sorted(registry().exporters)


def largest_difference(subject: Subject) -> float:
    """Return the largest score difference of batches of several sizes, relative to the range of good scores."""
    differences = []
    for path in (sample.image for sample in subject.evidence.compared):
        pixels = read_image(path)
        fitting = resize(pixels, SIZE)[None]
        expected, expected_map = subject.original_runtime(fitting)
        for count in (1, 2, 5):
            # Between copies turned over, which score otherwise, an image must score as alone.
            images = np.stack([pixels, pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1], 255 - pixels][:count])
            scores, maps = subject.runtime(images)
            differences.append(subject.relative(scores[:1], expected))
            if maps is not None:
                assert expected_map is not None
                differences.append(float(np.abs(maps[0] - expected_map[0]).max() / np.ptp(expected_map)))
    return max(differences)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("model", own_models())
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_model_agrees_on_images_of_other_sizes(exporter: str, model: str) -> None:
    assert largest_difference(subject_of(exporter, model=model)) <= AGREES


@pytest.mark.thorough
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_graph_of_a_fixed_batch_takes_any_number_of_images(exporter: str) -> None:
    fixed, dynamic = (subject_of(exporter, options, "dfm") for options in ({"batch": "4"}, {}))
    images = np.stack([resize(read_image(sample.image), SIZE) for sample in fixed.evidence.compared[:6]])
    for count in (1, 4, 6):
        (scores, maps), (expected, expected_maps) = fixed.runtime(images[:count]), dynamic.runtime(images[:count])
        assert maps is not None
        assert expected_maps is not None
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
        np.testing.assert_allclose(maps, expected_maps, rtol=1e-3, atol=1e-4 * np.ptp(expected_maps))


@pytest.mark.thorough
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_export_names_no_folder_of_the_machine_that_wrote_it(exporter: str) -> None:
    folder = subject_of(exporter, {}, "dfm").export.path
    places = {Path(module.__file__ or "").parent for module in (adcli, torch, pytest)} | {Path.home(), folder.parent}
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        assert [place for place in places if f"{place}{os.sep}".encode() in content] == [], path


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_example_prints_score_and_verdict(exporter: str) -> None:
    subject = subject_of(exporter, model="stfpm")
    image = subject.evidence.compared[0].image
    example = subject.export.path / "example.py"
    assert len(example.read_text().splitlines()) <= 30
    done = subprocess.run([sys.executable, str(example), str(image)], capture_output=True, text=True, check=True)
    score, verdict = done.stdout.strip().rpartition(": ")[2].split()
    expected = float(subject.runtime(read_image(image)[None])[0][0])
    assert float(score) == pytest.approx(expected, rel=1e-4)
    threshold = json.loads((subject.export.path / "calibration.json").read_text())["image_threshold"]
    assert verdict == ("defect" if expected > threshold else "good")
