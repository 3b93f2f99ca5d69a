"""Looking at data finds what is wrong with them, and says so in one line each."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.cli import main
from adcli.pipeline import Inspection, inspect_data


def draw(path: Path, *, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> None:
    """Write a picture that differs from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.frombuffer(sha256(str(path).encode()).digest()[:24] * (size[0] * size[1] // 8), np.uint8)
    Image.fromarray(pixels.reshape(size[1], size[0], 3)).convert(mode).save(path)


def mark(path: Path, *, size: tuple[int, int] = (24, 16), empty: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    if not empty:
        mask.paste(255, (2, 2, 6, 6))
    mask.save(path)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Data without fault: 6 images to train on, 2 good and 3 defective to test, with masks."""
    for number in range(6):
        draw(tmp_path / f"parts/train/good/{number}.png")
    for number in range(2):
        draw(tmp_path / f"parts/test/good/{number}.png")
    for number in range(3):
        draw(tmp_path / f"parts/test/dent/{number}.png")
        mark(tmp_path / f"parts/ground_truth/dent/{number}.png")
    return tmp_path / "parts"


def findings(parts: Path) -> list[tuple[str, str]]:
    """Return the kinds of findings, and the files below the folder."""
    found = inspect_data(str(parts)).findings
    assert all(str(finding.path) in finding.message for finding in found)
    assert all(len(finding.message.splitlines()) == 1 for finding in found)
    return [(finding.kind, finding.path.relative_to(parts).as_posix()) for finding in found]


def test_data_without_fault_are_counted(parts: Path) -> None:
    draw(parts / "train/good/grey.png", mode="L", size=(16, 16))
    found = inspect_data(str(parts))
    assert not found.findings
    assert found.splits == {
        "train": {"good": 7, "masks": 0},
        "test": {"defect": 3, "good": 2, "masks": 3},
        "validation": {"masks": 0},
    }
    assert found.sizes == {"24 x 16": 11, "16 x 16": 1}
    assert found.modes == {"RGB": 11, "L": 1}
    assert list(found.lines())[-1] == "no problems"


def test_a_test_image_that_is_trained_on_is_found_whatever_its_name_and_format(parts: Path) -> None:
    with Image.open(parts / "train/good/3.png") as image:
        image.save(parts / "test/good/holiday.bmp")
    assert findings(parts) == [("duplicate", "test/good/holiday.bmp")]


def test_a_validation_image_that_is_tested_is_found(parts: Path) -> None:
    (parts / "validation/good").mkdir(parents=True)
    (parts / "validation/good/v.png").write_bytes((parts / "test/good/0.png").read_bytes())
    assert findings(parts) == [("duplicate", "validation/good/v.png")]


def test_copies_within_a_split_are_counted_and_no_fault(parts: Path) -> None:
    (parts / "train/good/copy.png").write_bytes((parts / "train/good/0.png").read_bytes())
    found = inspect_data(str(parts))
    assert (found.copies, found.findings) == (1, [])


def test_images_that_cannot_be_read_are_found(parts: Path) -> None:
    whole = (parts / "train/good/2.png").read_bytes()
    (parts / "train/good/2.png").write_bytes(whole[: len(whole) // 2])
    (parts / "test/good/0.png").write_text("no image")
    assert findings(parts) == [("unreadable", "train/good/2.png"), ("unreadable", "test/good/0.png")]


def test_masks_that_are_empty_turned_or_unreadable_are_found(parts: Path) -> None:
    mark(parts / "ground_truth/dent/0.png", empty=True)
    mark(parts / "ground_truth/dent/1.png", size=(16, 24))
    (parts / "ground_truth/dent/2.png").write_text("no image")
    assert findings(parts) == [
        ("empty mask", "ground_truth/dent/0.png"),
        ("mask size", "ground_truth/dent/1.png"),
        ("unreadable mask", "ground_truth/dent/2.png"),
    ]


def test_a_mask_of_half_the_size_of_its_image_is_no_fault(parts: Path) -> None:
    mark(parts / "ground_truth/dent/0.png", size=(12, 8))
    assert not findings(parts)


def test_the_order_of_findings_does_not_depend_on_threads(parts: Path) -> None:
    for number in range(40):
        draw(parts / f"train/good/more{number}.png")
        (parts / f"test/good/copy{number}.png").write_bytes((parts / f"train/good/more{number}.png").read_bytes())
    one, many = (inspect_data(str(parts), workers=workers) for workers in (1, 8))
    assert isinstance(one, Inspection)
    assert len(one.findings) == 40
    assert one == many


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["datasets", "check", *arguments])
    return int(stop.value.code or 0)


def test_the_command_prints_a_line_for_each_finding_and_exits_with_4(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(parts)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no problems"
    mark(parts / "ground_truth/dent/0.png", empty=True)
    (parts / "test/good/9.png").write_bytes((parts / "train/good/0.png").read_bytes())
    assert run(str(parts)) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("empty mask: ")
    assert lines[-2].startswith("duplicate: ")
    assert lines[-1] == "2 problems"


def test_the_command_prints_one_json_document(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = parts / "test/dent/0.png", parts / "ground_truth/dent/0.png"
    mark(mask, empty=True)
    assert run(str(parts), "--json") == 4
    document = json.loads(capsys.readouterr().out)
    message = f"{mask}: marks nothing, but {image} is a defect."
    assert document["findings"] == [{"kind": "empty mask", "path": str(mask), "message": message}]
    assert document["splits"]["test"] == {"defect": 3, "good": 2, "masks": 3}


def test_options_of_the_data_set_and_tables_are_taken(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (parts / "t.csv").write_text("image,label\n" + "".join(f"train/good/{n}.png,ok\n" for n in range(6)))
    assert run(f"table:{parts / 't.csv'}") == 0
    assert "6 good" in capsys.readouterr().out
    assert run(str(parts), "-d", "test_shares=0.5") == 2
    assert run(str(parts / "nowhere")) == 4
