"""Whatever stdin, stdout and stderr are: closed, full, endless or binary, a command ends with its code and one line."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")

CLOSED = [combination for count in (1, 2, 3) for combination in itertools.combinations(range(3), count)]
COMMANDS = {
    "predict": (("predict", "{run}", "{image}", "--out", "made"), 0),
    "predict from a list": (("predict", "{run}", "-", "--out", "made"), 2),
    "runs": (("runs", "--dir", "."), 0),
    "runs rm": (("runs", "rm", "{run}"), 2),
    "a wrong name": (("train", "-m", "nothing"), 2),
    "help": (("--help",), 0),
}


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: "closed " + " ".join(map(str, closed)))
@pytest.mark.parametrize("name", COMMANDS)
def test_closed_streams_change_no_result(
    trained: Path, parts: Path, tmp_path: Path, name: str, closed: tuple[int, ...]
) -> None:
    words, code = COMMANDS[name]
    arguments = [word.format(run=trained, image=parts / "test/good/000.png") for word in words]
    end = server().start(arguments, tmp_path, closed=closed).wait()
    if name == "predict from a list" and 0 not in closed:
        code = 0
    assert end.code == code, end
    assert "Traceback" not in end.said
    if 2 not in closed and code:
        assert end.said.count("Error: ") == 1, end
        assert name != "predict from a list" or "'-'" in end.said
    if name.startswith("predict") and not code:
        rows = (tmp_path / "made/predictions.csv").read_text().splitlines()
        assert len(rows) == (2 if name == "predict" else 1)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_full_disk_at_the_other_end_is_no_traceback(trained: Path, tmp_path: Path, stream: str) -> None:
    """Nothing can be written to the one that is full, and the other has what it had."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    command = f'exec "{sys.executable}" -m adcli runs show "{trained}" {stream}>/dev/full'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (9 if stream == "1" else 0)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error: ") == (stream == "1")


def test_no_file_descriptors_left_is_one_line(trained: Path, parts: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(trained), str(parts / "test"), "--json"]
    codes = set()
    for left in range(0, 24, 2):
        end = server().start(arguments, tmp_path, files_left=left).wait()
        codes.add(end.code)
        assert "Traceback" not in end.said, (left, end)
        assert "internal error" not in end.said, (left, end)
        assert end.said.count("Error: ") == bool(end.code), (left, end)
        assert end.code in (0, 11), (left, end)
    assert 11 in codes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * 1_000_000, "a line of more than 65536 bytes"),
        (b"x" * 60_000, "xxx..."),
        (b"a\0b\n", "a\\x00b"),
        (bytes(range(256)) * 20, "without a verdict"),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
    ids=["a line without end", "a long line", "NUL", "binary", "a mark alone", "nothing"],
)
def test_a_list_of_paths_may_be_anything(trained: Path, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list").write_bytes(content)
    end = server().start(["predict", str(trained), "-"], tmp_path, stdin=tmp_path / "list").wait()
    assert end.code == (4 if words else 0), end.said[:2000]
    assert "Traceback" not in end.said
    assert end.said.count("Error: ") == bool(words)
    assert words in end.said
    assert max(map(len, end.said.splitlines())) < 2500


def test_a_list_without_end_takes_no_memory(trained: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    end = server().start(["predict", str(trained), "-"], tmp_path, stdin=Path("/dev/zero")).wait()
    assert end.code == 4
    assert "a line of more than 65536 bytes" in end.said
    assert time.monotonic() - begun < 60


def test_what_is_no_file_is_no_photograph(trained: Path, parts: Path, tmp_path: Path) -> None:
    """A device never ends, and a pipe waits for somebody who writes."""
    os.mkfifo(tmp_path / "pipe.png")
    good = parts / "test/good/000.png"
    (tmp_path / "list").write_text(f"/dev/zero\n{tmp_path / 'pipe.png'}\n{good}\n")
    end = server().start(["predict", str(trained), "-", "--skip-unreadable"], tmp_path, stdin=tmp_path / "list").wait()
    assert end.code == 0, end
    assert end.said.count("is no file, but a folder, a pipe or a device") == 2
    assert "1 image" not in end.said
    assert "3 images" in end.said
    end = (
        server()
        .start(["train", "-m", "padim", "--backbone", "random:resnet18", "--data", str(tmp_path)], tmp_path)
        .wait()
    )
    assert end.code == 4, end
