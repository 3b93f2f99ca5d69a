"""Names of any bytes: the whole way works, nothing is a traceback, and what is written names the same file again."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import yaml
from support import SIZE, Adcli, start_adcli, write_parts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, names are text")

QUICK = ("-m", "padim", "--backbone", "random:resnet18", "--image-size", str(SIZE), "-o", "layers=1,2")
ODD = [
    b"Gr\xfcn",
    b"esc\x1b[31mred\x1b[0m",
    b"cr\rname",
    b"new\nline",
    b"tab\tand space ",
    b" quote\"'s, and ; comma",
    b"back\\slash",
    b"\\udcfc",
    b"\\u005cudcfc",
    "写真 é 🙂".encode(),
    "写真".encode("shift-jis"),
    "\u202eleft".encode(),
    b"=1+1",
    b"\xff\xfe",
    b"\xef\xbb\xbfmark",
    b"[a]*?",
]


def random_names(seed: int, count: int) -> list[bytes]:
    """Return names of random bytes, as many as asked for, all of which a file may have."""
    random = Random(seed)
    letters = [byte for byte in range(1, 256) if byte != ord("/")]
    beginnings = [byte for byte in letters if byte != ord(".")]
    return [
        bytes([random.choice(beginnings), *random.choices(letters, k=random.randint(0, 30)), *b".png"])
        for _ in range(count)
    ]


def rename(folder: Path, names: list[bytes]) -> list[Path]:
    """Give the images of a folder these names."""
    files = sorted(folder.glob("*.png"))[: len(names)]
    return [file.rename(folder / os.fsdecode(name)) for file, name in zip(files, names, strict=False)]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose folders and files have odd names."""
    root = write_parts(tmp_path_factory.mktemp("data") / os.fsdecode(b"d\xe4ta\x1b[1m"), train=18, good=8, defective=8)
    rename(root / "train/good", [*(name + b".png" for name in ODD)])
    rename(root / "test/good", random_names(1, 8))
    kind = root / "test" / os.fsdecode(b"sch\xe4den\r\x1b")
    (root / "test/scratch").rename(kind)
    (root / "ground_truth/scratch").rename(root / "ground_truth" / kind.name)
    for mask, image in zip(
        sorted((root / "ground_truth").rglob("*.png")), rename(kind, random_names(2, 8)), strict=True
    ):
        mask.rename(mask.with_name(f"{image.stem}_mask.png"))
    return root


@pytest.fixture(scope="module")
def odd_run(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on it, in a folder with such a name."""
    from adcli import pipeline

    options = {"backbone": "random:resnet18", "layers": "1,2"}
    settings = pipeline.TrainSettings(model="padim", data=str(odd), image_size=str(SIZE), options=options)
    return pipeline.train(settings, out=tmp_path_factory.mktemp("runs") / os.fsdecode(b"l\xe4uft \x1b[1m")).run.path


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_run_on_names_of_any_bytes_is_whole_and_all_its_texts_are_utf_8(odd: Path, odd_run: Path) -> None:
    from adcli.runs.images import read_images
    from adcli.scoring.verdict import read_table

    for path in odd_run.rglob("*"):
        if path.suffix in (".yaml", ".json", ".csv", ".txt", ".html"):
            text = path.read_text(encoding="utf-8")
            assert path.suffix == ".html" or "\x1b" not in text or path.suffix == ".csv"
    assert yaml.safe_load((odd_run / "run.yaml").read_text(encoding="utf-8"))["data"] == str(odd)
    seen = {image.name for image in read_images(odd_run) if image.role != "test"}
    assert seen == {path.name for path in (odd / "train/good").iterdir()}
    found = {record.image for record, _ in read_table(odd_run / "scores.csv")}
    assert found == {path.relative_to(odd / "test").as_posix() for path in (odd / "test").rglob("*.png")}


@pytest.mark.thorough
def test_the_commands_on_it_end_well_and_show_nothing_that_a_terminal_obeys(
    adcli: Adcli, odd: Path, odd_run: Path
) -> None:
    commands: list[tuple[object, ...]] = [
        ("datasets", "check", odd),
        ("preview", odd, "--out", os.fsdecode(b"\xe4us.html")),
        ("evaluate", odd_run, "--data", odd, "--name", "again"),
        ("drift", odd_run, "--data", odd, "--out", os.fsdecode(b"\xe4d.html"), "--alarms", "1/10"),
        ("runs", "--dir", odd_run.parent),
        ("runs", "show", odd_run),
        ("report", odd_run),
        ("compare", odd_run, odd_run),
        ("qualify", odd_run, "--sizes", "9", "--contrasts", "99", "--draws", "72", "--out", os.fsdecode(b"\xe4.html")),
        ("predict", odd_run, odd / "test", "--overlays", "--out", os.fsdecode(b"\xe4us")),
    ]
    for command in commands:
        outcome = adcli(*command)
        assert outcome.code in (0, 3), (command, outcome)
        assert "\x1b" not in outcome.err
        (outcome.out + outcome.err).encode()
    assert len(list(Path(os.fsdecode(b"\xe4us")).rglob("*.png"))) == 16


UNSIGHTLY = b"r\x1b[31mX\xfc\ny\x9b\r\t\x85 \xe2\x80\xa8\xe2\x80\xae!"
SHOWN = r"r\x1b[31mX\udcfc\ny\udc9b\r\t\udc85 \u2028\u202e!"
"""A name, and how it is shown: nothing begins another line, and all can be told apart."""


@pytest.fixture(scope="module")
def unsightly(odd: Path, odd_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set and a run, each in a folder of that name; an image with that name cannot be read."""
    place, name = tmp_path_factory.mktemp("plain"), os.fsdecode(UNSIGHTLY)
    data, run = place / "data" / name, place / "runs" / name
    shutil.copytree(odd, data)
    (data / "train/good" / f"{name}.png").write_text("no image")
    shutil.copytree(odd_run, run)
    return data, run


@pytest.mark.parametrize("colour", ["", "1"])
@pytest.mark.parametrize(
    ("command", "count"),
    [
        (("datasets", "check", "DATA"), 2),
        (("preview", "DATA", "--out", "p.html", "--skip-unreadable", "--count", "24"), 0),
        (("runs", "show", "RUN"), 1),
        (("runs", "--dir", "RUNS"), 1),
        (("runs", "note", "RUN", "x"), 0),
        (("evaluate", "RUN", "--data", "DATA", "--name", "more"), 1),
        (("compare", "RUN", "RUN"), 2),
        (("calibrate", "RUN", "--false-alarm-rate", "0.4"), 0),
        (("predict", "RUN", "IMAGE", "--skip-unreadable"), 1),
        (("runs", "rm", "RUN", "--yes"), 1),
    ],
)
def test_what_people_see_is_a_line_for_each_thing_in_a_terminal_and_in_a_pipe(
    adcli: Adcli,
    unsightly: tuple[Path, Path],
    command: tuple[str, ...],
    count: int,
    colour: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, kept = unsightly
    run = shutil.copytree(kept, tmp_path / "runs" / kept.name)
    image = data / "train/good" / f"{data.name}.png"
    given = {"DATA": data, "RUN": run, "RUNS": run.parent, "IMAGE": image}
    monkeypatch.setenv("FORCE_COLOR", colour)
    monkeypatch.setenv("COLUMNS", "1000")
    outcome = adcli(*(given.get(word, word) for word in command))
    assert outcome.code in (0, 4), outcome
    out = re.sub(r"\x1b\[[0-9;]*m", "", outcome.out)
    assert all(line.isprintable() for line in re.split("[\n\t]", out)), out
    assert out.count(SHOWN) >= count, out


def test_a_program_gets_the_path_of_a_report_as_it_is(unsightly: tuple[Path, Path]) -> None:
    _, run = unsightly
    with start_adcli("report", run, cwd=run.parent, text=False) as report:
        out, err = report.communicate(timeout=300)
    assert report.returncode == 0, err
    assert out.removesuffix(b"\n") == os.fsencode(f"{run.name}/report.html")
    assert (run.parent / os.fsdecode(out.removesuffix(b"\n"))).is_file()


@pytest.mark.parametrize("more", [(), ("--skip-unreadable",), ("-",)], ids=["named", "skipping", "in a list"])
def test_a_photograph_is_called_as_it_was_named(
    adcli: Adcli, odd: Path, odd_run: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli._spelling import unspell

    image = next(path for path in sorted((odd / "train/good").iterdir()) if path.name.startswith("back"))
    Path("a/b").mkdir(parents=True)
    for copy in ("x.png", "a/x.png"):
        shutil.copy(image, copy)
    named = [
        "x.png",
        "./x.png",
        ".//x.png",
        "a/x.png",
        "a//x.png",
        "a/./x.png",
        "a/b/../x.png",
        str(Path.cwd() / "x.png"),
    ]
    broken = ["./none.txt"] if more else []
    Path("none.txt").write_text("no image")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(named).encode()), encoding="utf-8"))
    given = more if more == ("-",) else (*named, *broken, *more)
    expected = named if more == ("-",) else [*named, *broken]
    outcome = adcli("predict", odd_run, *given, "--format", "csv", "--out", "out")
    assert outcome.code == 0, outcome
    assert [unspell(row["image"]) for row in read_csv(outcome.out)] == expected
    written = Path("out/predictions.csv").read_text(encoding="utf-8")
    assert [unspell(row["image"]) for row in read_csv(written)] == expected


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "on disk"])
def test_every_name_that_is_written_leads_back_to_its_file(adcli: Adcli, odd: Path, odd_run: Path, form: str) -> None:
    """Through a table as data, through a list on stdin, and through a table that is gone on with."""
    from adcli._plugins.builtin import TableOptions
    from adcli.data.table import load

    files = sorted((odd / "train/good").iterdir())
    printed = adcli("predict", odd_run, *files, "--out", "day", "--format", form if form != "on disk" else "table")
    assert printed.code == 0, printed.err
    table = Path("day/predictions.csv") if form == "on disk" else Path("printed." + form)
    if form != "on disk":
        table.write_text(printed.out, encoding="utf-8", newline="")
    assert sorted(sample.image for sample in load(TableOptions.parse({"file": table}), None).train) == files


def test_names_in_a_list_are_found_however_they_are_written(odd: Path, tmp_path: Path) -> None:
    from adcli._spelling import spell
    from adcli.cli.path_list import read_paths

    files = [str(file) for file in sorted(odd.rglob("*.png")) if "\n" not in str(file)]
    spelt = ["ascii", "utf-8", "cp1252", "cp932"]
    for encoding in spelt:
        lines = "\n".join(spell(file, encoding) for file in files)
        stdin = io.TextIOWrapper(io.BytesIO(lines.encode(encoding)), encoding=encoding)
        assert list(read_paths(stdin)) == files, encoding
    for encoding in spelt:
        stdin = io.TextIOWrapper(io.BytesIO(b"\n".join(map(os.fsencode, files))), encoding=encoding)
        assert list(read_paths(stdin)) == files, encoding


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932", "utf-16", "utf-8:strict"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_an_encoding_that_lacks_a_name_costs_no_verdict(odd: Path, odd_run: Path, encoding: str, form: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    arguments = ("predict", odd_run, odd / "train/good", "--format", form)
    with start_adcli(*arguments, cwd=odd, env=environment, text=False) as predict:
        out, err = predict.communicate(timeout=300)
    assert predict.returncode == 0, err
    # What cannot write more than ASCII is taken for misconfigured, and gets UTF-8.
    text = out.decode({"ascii": "utf-8"}.get(encoding, encoding.partition(":")[0]))
    if form == "json":
        names = {row["image"] for row in json.loads(text)}
    elif form == "csv":
        from adcli._spelling import unspell

        names = {unspell(row["image"]) for row in read_csv(text)}
    else:
        assert len(text.splitlines()) == 19
        return
    assert names == {str(path) for path in (odd / "train/good").iterdir()}


def test_whatever_is_spelt_is_text_and_is_read_back() -> None:
    from adcli._spelling import spell, unspell

    random = Random(3)
    pieces = ["\\", "u", "005c", "dcfc", "U0001f642", "é", "\udcfc", "\ud800", "🙂", "a", "\n", "\\u005c"]
    for _ in range(3000):
        text = "".join(random.choices(pieces, k=random.randint(0, 9)))
        for encoding in ("utf-8", "ascii", "cp1252", "cp932"):
            assert unspell(spell(text, encoding).encode(encoding).decode(encoding)) == text
        assert len({text, unspell(text)}) == 1 or spell(text) != text


def test_text_without_odd_bytes_is_spelt_as_it_is() -> None:
    from adcli._spelling import spell

    for text in (r"C:\Users\uwe\Bilder\x1.png", "写真/é 🙂.png", "a\tb\r\n", r"\u00", r"\U00110000"):
        assert spell(text) == text


def test_commands_with_any_words_are_one_line_that_a_shell_takes_apart_again() -> None:
    from adcli._commands import quote

    words = [os.fsdecode(name) for name in (*ODD, *random_names(4, 50)) if b"\n" not in name]
    line = quote("printf", "%s\\0", *words)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
