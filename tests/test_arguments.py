"""Whatever is given to an option or an argument of any command: it is taken, or one line says what is wrong with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support import Adcli, assert_one_line
from test_train_options import LONG, MANY

from adcli.cli import cli
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import Cell
from adcli.sweeps.folder import list_runs

DIGITS = "9" * 5000
VALUES = [
    *("", " ", "-1", "0", MANY, DIGITS, "1e400", "nan", "-inf", "٣", "18446744073709551616", "hpu", "99999-01-01"),
    *(
        LONG,
        f"/{LONG}",
        f"{LONG}/x",
        "a/" * 3000,
        ".",
        "..",
        "file.txt",
        "file.txt/x",
        "\udcfc",
        "*",
        "**/*",
        "[",
        "=x",
    ),
    *("line\nbreak", "cr\rname", "\x1b[31mred", "\u2028", "x=line\nbreak", f"x={DIGITS}", f"{LONG}={LONG}"),
]
GIVEN = {
    "run": "run",
    "runs": "run run",
    "names": "run",
    "paths": "file.txt",
    "to": "--to onnx",
    "name": "padim",
    "new": "other",
    "text": "text",
    "reference": "parts",
    "out": "page.html",
    "command": "train",
    "shell": "bash",
    "model": "-m padim",
    "data": "--data .",
    "folder": "sweep",
    "recipe": "recipe.yaml",
}
"""What makes the rest of a command right; what a parameter not listed here is called, fails loudly below."""

SLOW = ("bench", "export", "report", "calibrate", "update")
"""Commands that would compute with what is right; what they are given fails before."""


def list_commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, (*words, name))
        yield (*words, name), command


PARAMETERS = [
    (words, parameter)
    for words, command in list_commands(cli)
    # What `train` does with each of its options is a table of its own.
    if words != ("train",)
    for parameter in command.params
    if not getattr(parameter, "is_flag", False) and parameter.name != "help"
]


@pytest.fixture(scope="module")
def stocked(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and a file."""
    root = tmp_path_factory.mktemp("stocked")
    shutil.copytree(trained, root / "run")
    (root / "file.txt").write_text("x")
    settings = TrainSettings.parse({"model": "padim"})
    list_runs(root / "sweep", [Cell("a", {"model": "padim", "data": "parts", "category": "", "seed": 0}, settings)])
    published = "published: {source: a, values: [{metric: image.auroc, value: 1}]}"
    (root / "recipe.yaml").write_text(f"grids: [{{model: padim}}]\n{published}\n")
    return root


@pytest.fixture(autouse=True)
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing computed, nor made, with what is taken."""
    from importlib import import_module

    from adcli.errors import AdcliError

    def taken(*_: object, **__: object) -> None:
        raise AdcliError("taken")

    pipeline = import_module("adcli.pipeline")
    for name in ("evaluate", "recalibrate", "calibrate", "export", "bench", "report", "open_scorer", "update"):
        if hasattr(pipeline, name):
            monkeypatch.setattr(pipeline, name, taken)
    monkeypatch.setattr(import_module("adcli.testing"), "check_plugin", taken)


@pytest.mark.parametrize(
    ("words", "parameter"), PARAMETERS, ids=[f"{' '.join(words)} {found.name}" for words, found in PARAMETERS]
)
def test_no_value_ends_in_a_traceback(
    adcli: Adcli,
    stocked: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    parameter: click.Parameter,
) -> None:
    shutil.copytree(stocked, tmp_path, dirs_exist_ok=True)
    command = dict(list_commands(cli))[words]
    others = [
        word
        for other in command.params
        if other.required and other.name != parameter.name
        for word in GIVEN[str(other.name)].split()
    ]
    for value in VALUES:
        operand = isinstance(parameter, click.Argument)
        arguments = [*words, *others, *(["--", value] if operand else [max(parameter.opts, key=len), value])]
        if words[:1] == ("plugin",) and words[1:] == ("new",) and value in (".", ".."):
            continue
        outcome = adcli(*arguments)
        errors = [line for line in outcome.err.split("\n") if line.startswith("Error: ")]
        assert outcome.code != 70, (value[:80], outcome.err[:1000])
        assert "Traceback" not in outcome.err, (value[:80], outcome.err[:1000])
        assert len(errors) == bool(outcome.code), (value[:80], outcome.err[:1000])
        # Of several runs, the last line says how many failed.
        assert outcome.code != 1 or errors[0].endswith(": taken"), (value[:80], outcome.err[:1000])
        assert max(map(len, outcome.err.split("\n"))) < 2500, value[:80]
        assert not {"\x1b", "\r", "\u2028"} & set(outcome.err), value[:80]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seed", "18446744073709551616", "--seed must be at most 4294967295"),
        ("--seed", DIGITS, "--seed must be an integer"),
        ("--false-alarm-rate", "nan", "--false-alarm-rate must be at least 1e-09, not nan"),
        ("--device", "hpu", "--device hpu"),
        ("--batch-size", MANY, "--batch-size must be at most"),
        ("--workers", MANY, "--workers must be at most"),
        ("--cache", MANY, "--cache must be at most"),
        ("--image-size", DIGITS, "--image-size must be N or HEIGHTxWIDTH"),
        ("--calibration", f"{DIGITS}-fold", "--calibration must be 2-fold to 100-fold"),
        ("--region", f"0,0,{DIGITS},20", "--region must be"),
        ("--crop", DIGITS, "--crop must be"),
    ],
)
def test_a_number_that_is_none_or_too_large_is_named(
    adcli: Adcli, parts: Path, option: str, value: str, words: str
) -> None:
    given = ("train", "-m", "padim", "--backbone", "random:resnet18", "--data", parts, option, value)
    outcome = adcli(*given)
    assert_one_line(outcome, 2, words)
    assert len(outcome.err) < 700
    assert not Path("runs").exists()


def test_an_image_size_that_memory_cannot_hold_is_refused_with_what_it_takes(
    adcli: Adcli, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli.nn import foreseeing

    monkeypatch.setattr(foreseeing, "free_memory", lambda: 4 << 30)
    outcome = adcli(
        *("train", "-m", "padim", "--backbone", "random:resnet18", "-o", "layers=1", "--data", parts),
        *("--image-size", "8192"),
    )
    assert_one_line(outcome, 11, "batches of 16 images of 8192x8192 need at least 12.9 GB more, and 4.3 GB are free")
    assert "--image-size" in outcome.err
    assert not list(Path("runs").glob("*"))
