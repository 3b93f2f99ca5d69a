"""``images.csv``: what a run says of the images that it saw, read back as it was written or not at all."""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import adcli.runs.images as module
from adcli._files import seal
from adcli.errors import RunError
from adcli.runs.images import IMAGES_FILE, SeenImage, fitted_digests, format_images, read_images
from adcli.runs.run import FORMAT, RUN_FILE

NAMES = [
    "good/000.png",
    "a, b.png",
    'say "no".png',
    "two\nlines.png",
    "carriage\rreturn.png",
    "line\u2028separator\u2029and\x85more\x0b\x0c\x1c.png",
    "back\\slash\\u000a.png",
    "写真/größe.png",
    os.fsdecode(b"Gr\xfcn.png"),
    " spaces .png ",
    "=cmd.png",
]


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write(folder: Path, content: bytes, record: object = None) -> Path:
    """Write a folder with ``images.csv`` and a ``run.yaml`` that vouches for it."""
    folder.mkdir(exist_ok=True)
    (folder / IMAGES_FILE).write_bytes(content)
    record = {"images": hashlib.sha256(content).hexdigest()} if record is None else record
    (folder / RUN_FILE).write_text(seal({"format": FORMAT, "model": "padim", "record": record}), encoding="utf-8")
    return folder


def seen(names: Sequence[str]) -> list[SeenImage]:
    return [SeenImage(name, digest_of(name), "fitted") for name in names]


def test_every_name_that_a_file_can_have_comes_back(tmp_path: Path) -> None:
    images = seen(NAMES)
    assert read_images(write(tmp_path / "run", format_images(images))) == images


def test_a_name_never_makes_another_line_and_the_file_is_text(tmp_path: Path) -> None:
    text = format_images(seen(NAMES)).decode()
    assert len(text.splitlines()) == len(NAMES) + 1
    assert read_images(write(tmp_path / "empty", format_images([]))) == []


def test_only_images_that_were_fitted_to_count_as_fitted(tmp_path: Path) -> None:
    roles = ("fitted", "held-out", "calibration", "validation", "test")
    images = [SeenImage(f"{role}.png", digest_of(role), role) for role in roles]
    run = write(tmp_path / "run", format_images(images))
    assert fitted_digests(run) == {digest_of("fitted")}


GOOD = digest_of("a")
DAMAGED = {
    "nothing": b"",
    "another head": b"image,digest,role\n",
    "a cell less": f"name,digest,role\na,{GOOD}\n".encode(),
    "a cell more": f"name,digest,role\na,{GOOD},fitted,x\n".encode(),
    "an empty line": b"name,digest,role\n\n",
    "no name": f"name,digest,role\n,{GOOD},fitted\n".encode(),
    "no digest": b"name,digest,role\na,abc,fitted\n",
    "a digest in upper case": f"name,digest,role\na,{GOOD.upper()},fitted\n".encode(),
    "an unknown role": f"name,digest,role\na,{GOOD},trained\n".encode(),
    "no UTF-8": b"name,digest,role\n\xff",
    "an open quotation": f'name,digest,role\n"a,{GOOD},fitted\n'.encode(),
    "a carriage return": f"name,digest,role\na\rb,{GOOD},fitted\n".encode(),
    "a cell beyond every bound": b"name,digest,role\n" + b"a" * 200_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_content_that_no_run_writes_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    run = write(tmp_path / "run", content)
    with pytest.raises(RunError, match=IMAGES_FILE) as caught:
        read_images(run)
    assert len(caught.value.format_message().splitlines()) == 1


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    run = write(tmp_path / "run", format_images(seen(NAMES)))
    content = (run / IMAGES_FILE).read_bytes()
    for position in range(0, len(content), 29):
        changed = bytearray(content)
        changed[position] ^= 0x01
        (run / IMAGES_FILE).write_bytes(changed)
        with pytest.raises(RunError, match=IMAGES_FILE):
            read_images(run)


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({}, IMAGES_FILE),
        ([], "run.yaml: record is a list"),
        ("images", "run.yaml: record is 'images'"),
        ({"images": 3}, r"run.yaml: record\.images is 3, not a sha256"),
    ],
)
def test_a_run_that_does_not_vouch_for_its_images_is_not_believed(tmp_path: Path, record: object, named: str) -> None:
    with pytest.raises(RunError, match=named):
        read_images(write(tmp_path / "run", format_images(seen(NAMES)), record))


def _remove(path: Path) -> None:
    path.unlink()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere.csv")
    path.symlink_to(path.parent.parent / "elsewhere.csv")


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are those of POSIX")
@pytest.mark.parametrize("spoil", [_remove, _make_folder, _make_link, _make_pipe])
def test_what_is_no_file_of_the_run_is_not_read(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    run = write(tmp_path / "run", format_images(seen(NAMES)))
    spoil(run / IMAGES_FILE)
    with pytest.raises(RunError, match=IMAGES_FILE):
        read_images(run)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(RunError, match=IMAGES_FILE):
        read_images(write(tmp_path / "run", format_images(seen(NAMES))))
