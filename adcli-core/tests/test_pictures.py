"""Pictures lie as their photographs do, none replaces another, and each prediction knows its own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.folder import common_folder
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, Unreadable
from adcli.pipeline import draw
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction

LONG = "ü" * 120


def predict(name: str, *, in_memory: bool = False) -> Prediction:
    photograph = Photograph(name, np.zeros((4, 4, 3), np.uint8), "", None if in_memory else Path(name))
    return Prediction(photograph, 0.0, None, Calibration.none(), Framing())


def drawn(folder: Path, *names: str, root: Path | None = None, in_memory: bool = False) -> list[str]:
    """Draw pictures of photographs of these names; return their files, relative to the folder."""
    predictions = (predict(name, in_memory=in_memory) for name in names)
    files = [prediction.picture for prediction in draw(predictions, folder, root)]
    for file in files:
        assert file is not None
        assert file.resolve().is_relative_to(folder.resolve())
        with Image.open(file) as picture:
            assert picture.format == "PNG"
    return [file.relative_to(folder).as_posix() for file in files if file]


CLASHES = [
    ["a/1.png", "b/1.png", "A/1.png"],
    ["x/y-z.png", "x-y/z.png", "x/y/z.png"],
    ["1.png", "1.PNG", "1.png"],
    ["1.png", "1.png", "1.png-2"],
    ["1.png-2", "1.png", "1.png"],
    ["straße.png", "STRASSE.png", "stra\u00dfe.png"],
    ["é.png", "e\u0301.png"],
    ["part", "part.png/1.png"],
    ["part.png/1.png", "part"],
    [f"{LONG}/a.png", f"{LONG}/{LONG}1.png", f"{LONG}/{LONG}2.png"],
    ["../a.png", "a.png", "/a.png", "../../a.png"],
    ["new\nline.png", "new line.png"],
    ["caf\udce9.png", "caf.png", "caf\udce8.png"],
    ["esc\x1b[0m.png", "cr\rname.png"],
]


@pytest.mark.parametrize("names", CLASHES, ids=lambda names: names[0][:12])
@pytest.mark.parametrize("in_memory", [False, True])
def test_no_two_photographs_share_a_picture(tmp_path: Path, names: list[str], in_memory: bool) -> None:
    found = drawn(tmp_path / "maps", *names, in_memory=in_memory)
    assert len({file.casefold() for file in found}) == len(names)
    # Nor do those of a later call, which does not know of the first.
    more = drawn(tmp_path / "maps", *names, in_memory=in_memory)
    assert len({*found, *more}) == 2 * len(names)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "nul\0.png", "a\\b:c.png"])
def test_a_photograph_from_memory_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert len(drawn(tmp_path / "maps", name, in_memory=True)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"maps"}


def test_pictures_lie_below_what_was_given_as_the_photographs_do(tmp_path: Path) -> None:
    names = [str(tmp_path / "photos" / name) for name in ("a/1.png", "b/1.png", "2.png")]
    found = drawn(tmp_path / "maps", *names, root=tmp_path / "photos")
    assert found == ["a/1.png.png", "b/1.png.png", "2.png.png"]
    assert drawn(tmp_path / "other", "day/1.png", root=tmp_path / "photos") == ["day/1.png.png"]


def test_nothing_is_drawn_of_what_cannot_be_read(tmp_path: Path) -> None:
    gone = Prediction(Unreadable("a.png", "a.png: is gone."), float("nan"), None, Calibration.none(), Framing())
    (found,) = draw([gone], tmp_path / "maps")
    assert found.picture is None
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["col"], "col"),
        (["col/a", "col/b"], "col"),
        (["col/a/1.png"], "col/a"),
        (["col/a/1.png", "col/b/1.png"], "col"),
        (["col/**/*.png"], "col"),
        (["col/*/1.png", "other"], ""),
        (["*.png"], ""),
        (["col/../other"], "other"),
    ],
)
def test_what_was_given_has_a_folder_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("col/a/1.png", "col/b/1.png", "other/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert common_folder(given) == tmp_path / expected
    assert common_folder([str(tmp_path / path) for path in given]) == tmp_path / expected
