"""What the command line looks like: help, tables, colour, voices, and one way to say that something is wrong."""

import errno
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import click
import pytest
from support import Adcli, assert_one_line, in_own_process

from adcli import pipeline
from adcli.cli import cli
from adcli.cli.console import lay_out, wrap
from adcli.cli.flags import SCORING, SECTIONS
from adcli.errors import suggest
from adcli.runs.settings import BATCH_SIZE, FIELDS, TrainSettings

CODES = re.compile(r"\x1b\[[0-9;]*m")
"""What colours a terminal."""


def every_command(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield our commands, and the names to type for each."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from every_command(inner, (*path, name))


COMMANDS = dict(every_command())
SINGLE = [
    (path, option.opts[0])
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and not option.multiple
]


@pytest.mark.parametrize(("path", "flag"), SINGLE)
def test_an_option_that_takes_one_value_refuses_two(adcli: Adcli, path: tuple[str, ...], flag: str) -> None:
    outcome = adcli(*path, flag, "1", flag, "2")
    assert (outcome.code, outcome.err) == (2, f"Error: {flag} takes one value; give it once.\n")


def test_that_holds_for_all_spellings_and_for_keys(adcli: Adcli) -> None:
    assert adcli("train", "-m", "a", "--model=b").err == "Error: --model takes one value; give it once.\n"
    assert adcli("train", "--model", "a", "-mb").err == "Error: -m takes one value; give it once.\n"
    twice = adcli("train", "-m", "padim", "-o", "sigma=1", "-o", "sigma=2")
    assert (twice.code, twice.err) == (2, "Error: -o sigma takes one value; give it once.\n")
    assert len(SINGLE) > 50


SIZES = "N or HEIGHTxWIDTH, each from 16 to 8192 pixels"
FORMATS = "table, csv, json or jsonl"
IGNORED = ", and would be ignored; write it after that, or leave it out."
DEVICES = "is no device; give auto, cpu, cuda, cuda:N or mps."
LONG, TOO_LONG = "x" * 300, os.strerror(errno.ENAMETOOLONG)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train -m padim --fit stretch", "--fit must be squash or letterbox, not 'stretch'."),
        ("train -m padim --precision fp8", "--precision must be auto, fp32, bf16 or fp16, not 'fp8'."),
        ("train -m padim --cache x", "--cache must be an integer, not 'x'."),
        ("train -m padim --batch-size 0", "--batch-size must be at least 1, not 0."),
        ("train -m padim --false-alarm-rate 1", "--false-alarm-rate must be less than 1, not 1.0."),
        ("train -m padim --image-size 7", f"--image-size must be {SIZES}, not '7'."),
        ("train -m dfm --region 0,0,64,32 --crop 99", "--crop must fit into region 0,0,64,32, and '99' does not."),
        ("train -m padim --seed 18446744073709551616", f"--seed must be at most {2**32 - 1}, not {2**64}."),
        ("train -m padim --threshold f2", "--threshold must be f1 or a number, not 'f2'."),
        ("train -m padim --calibration 1-fold", "--calibration must be 2-fold to 100-fold, not '1-fold'."),
        ("train -m stfpm -o epochs=many", "-o epochs must be an integer, not 'many'."),
        ("train -m stfpm -o epochz=3", "-o epochz is not an option. Did you mean 'epochs'?"),
        ("train -m stfpm -o epochs", "-o must be KEY=VALUE, not 'epochs'."),
        ("train --config wrong.yaml", "--config wrong.yaml: cache must be an integer, not 'x'."),
        ("train --config options.yaml", "--config options.yaml: options: epochs must be an integer, not 'many'."),
        ("train --config options.yaml -o epochs=few", "-o epochs must be an integer, not 'few'."),
        ("train", "--model must be given; 'adcli models' lists what can be trained."),
        ("train photos", "'photos' stands alone; images are given as --data photos"),
        ("train padim --data photos", "'padim' stands alone; a model is given as --model padim"),
        ("train -m padim --out=", "--out is empty; give a path."),
        ("train -m padim --calibration=", "--calibration is empty; give a path."),
        ("train -m padim --validation=", "--validation is empty; give a path."),
        ("train -m padim --ignore=", "--ignore is empty; give a path."),
        ("train -m padim --validation photos", "--validation photos: is for --threshold f1; give both, or neither."),
        ("train -m padim -q=3", "-q takes no value, not '3'."),
        ("train -m padim --quiet=3", "--quiet takes no value, not '3'."),
        ("runs -q=3", "-q takes no value, not '3'."),
        ("train -m=padim", "-m takes its value after a space: -m padim"),
        ("train -m padim --device tpu", f"--device tpu: {DEVICES}"),
        ("train --config no_device.yaml", f"--config no_device.yaml: device tpu: {DEVICES}"),
        ("train --config no_device.yaml --device npu", f"--device npu: {DEVICES}"),
        ("runs --dir wrong.yaml", "--dir wrong.yaml: no such folder."),
        ("runs --dir nowhere", "--dir nowhere: no such folder."),
        ("train -m padim --resume x", "--resume takes --data and -d alone: the run has its own settings."),
        ("predict run --workers -1 x.png", "--workers must be at least 0, not -1."),
        ("predict photos", "give a run, and then images: adcli predict last photos"),
        ("predict run x.png --format tabel", f"--format must be {FORMATS}, not 'tabel'. Did you mean 'table'?"),
        ("bench run --workers two", "--workers must be an integer, not 'two'."),
        ("trian", "unknown command 'trian'. Did you mean 'train'?"),
        ("models shwo", "unknown command 'shwo'. Did you mean 'show'?"),
        ("models --json show padim", f"--json stands before 'show'{IGNORED}"),
        ("runs --dir . rm x", f"--dir stands before 'rm'{IGNORED}"),
        ("sweep -m padim show S", f"-m stands before 'show'{IGNORED}"),
        ("help tarin", "unknown command 'tarin'. Did you mean 'train'?"),
    ],
)  # fmt: skip
def test_a_message_names_what_was_typed(adcli: Adcli, arguments: str, message: str) -> None:
    Path("wrong.yaml").write_text("model: stfpm\ncache: x\n")
    Path("options.yaml").write_text("model: stfpm\noptions:\n  epochs: many\n")
    Path("no_device.yaml").write_text("model: padim\ndevice: tpu\noptions:\n  backbone: random:resnet18\n")
    outcome = adcli(*arguments.split())
    assert_one_line(outcome, 2)
    assert outcome.err.splitlines()[-1] == f"Error: {message}"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("train -m padim --calibration nowhere", 4, "--calibration nowhere: no such folder."),
        ("train -m padim --threshold f1 --validation nowhere", 4, "--validation nowhere: no such folder."),
        ("train -m padim --ignore nowhere.png", 4, "--ignore nowhere.png: no such file."),
        ("train --config gone.yaml", 4, "--config gone.yaml: calibration nowhere: no such folder."),
        ("train -m padim --out file/x", 9, "--out file/x: file is a file; choose another folder."),
        ("plugin new hinge --out file/x/y", 9, "--out file/x/y: file is a file; choose another folder."),
        (f"train -m padim --out {LONG}", 9, f"--out {LONG}: cannot be written ({TOO_LONG}); choose another folder."),
    ],
)  # fmt: skip
def test_a_place_that_is_not_there_is_named_before_an_image_is_read(
    adcli: Adcli, arguments: str, code: int, message: str
) -> None:
    Path("file").touch()
    Path("gone.yaml").write_text("model: padim\ncalibration: nowhere\n")
    outcome = adcli(*arguments.split())
    assert (outcome.code, outcome.err) == (code, f"Error: {message}\n")


def test_a_single_word_of_predict_is_a_run_or_images(adcli: Adcli, run: Path) -> None:
    assert_one_line(adcli("predict", run), 2, f"give images, too: adcli predict {run} IMAGES")
    Path("my photos").mkdir()
    assert_one_line(adcli("predict", "my photos"), 2, "adcli predict last 'my photos'")


def test_paths_are_relative_unless_they_were_typed_absolute(adcli: Adcli, parts: Path) -> None:
    shutil.copytree(parts, "my parts")
    Path("my parts/train/good/zz.png").write_text("no image")
    quick = ("-m", "dfm", "--backbone", "random:resnet18", "--image-size", 32)
    for typed, named in (("my parts", "my parts"), (Path("my parts").absolute(), str(Path("my parts").absolute()))):
        outcome = adcli("train", "--data", typed, *quick)
        assert_one_line(outcome, 4, f"Error: {Path(named) / 'train/good/zz.png'}: not an image")
        assert outcome.err.startswith(f"{named}: train and test folders"), outcome.err


def test_of_many_names_the_nearest_are_listed() -> None:
    names = [f"part-{number:02}-{'cable' if number == 7 else 'wood'}" for number in range(70)]
    message = suggest("cables", names)
    assert "part-07-cable" in message
    assert message.count("part") == 3
    assert "67 more" in message
    assert suggest("x", names[:3]) == f" Known: {', '.join(names[:3])}."


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("path", COMMANDS)
def test_help_fits_and_is_not_cut(
    adcli: Adcli, path: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = adcli(*path, "--help").out
    assert max(map(len, shown.splitlines())) <= columns
    cut = [line for line in shown.splitlines() if line.endswith("...") and not line.startswith("Usage:")]
    assert cut == []


def test_the_options_of_train_are_its_settings_in_sections(adcli: Adcli) -> None:
    shown = adcli("train", "--help").out
    found = [line[:-1] for line in shown.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)]
    assert found == [section for section in SECTIONS if section in found]
    assert {"Model", "Data", "Images", "Calibration", "Computing", "Run", "Options"} == set(found)
    options = {option.name for option in COMMANDS[("train",)].params}
    assert set(FIELDS) <= options
    assert all(field.metadata["group"] in SECTIONS for field in FIELDS.values())


@pytest.mark.parametrize("function", [pipeline.open_scorer, pipeline.bench, pipeline.export, pipeline.inspect_data])
def test_a_setting_has_one_default(function: Callable[..., object]) -> None:
    settings = {**vars(TrainSettings(model="m")), "batch_size": BATCH_SIZE}
    shared = {name: given.default for name, given in signature(function).parameters.items() if name in SCORING}
    assert shared == {name: settings[name] for name in shared}
    assert "workers" in shared


def test_an_error_stays_one_line_of_bounded_length(adcli: Adcli) -> None:
    outcome = adcli("train", "-m", "a\nb" + "c" * 10_000)
    assert_one_line(outcome, 2, "'a b")
    assert len(outcome.err) < 2100


def test_help_is_also_a_command(adcli: Adcli) -> None:
    assert adcli("help", "datasets", "check").out == adcli("datasets", "check", "--help").out
    assert adcli("help").out == adcli("--help").out


def test_versions_are_those_of_core_python_torch_and_plugins(adcli: Adcli) -> None:
    for flag in ("-V", "--version"):
        found = dict(line.split() for line in adcli(flag).out.splitlines())
        assert found["adcli"] == version("adcli-core")
        assert found["torch"] == version("torch")
        assert found["adcli-padim"] == version("adcli-padim")
        assert list(found)[:3] == ["adcli", "python", "torch"]


def test_names_to_type_are_never_cut_and_prose_wraps_at_words() -> None:
    name, prose = "20261127-000400-reverse_distillation", "a long description of what this is, with words "
    lines = list(lay_out(("name", "state", "what"), [(name, "finished", prose * 3)], ("name",), 80))
    assert max(len(CODES.sub("", line)) for line in lines) <= 80
    assert lines[1].startswith(f"{name}  finished")
    assert " ".join(" ".join(CODES.sub("", line)[48:] for line in lines[1:]).split()) == (prose * 3).strip()
    narrow = list(lay_out(("name", "state", "what"), [(name, "finished", prose)], ("name",), 40))
    assert [CODES.sub("", line).strip() for line in narrow] == ["name", name]


def test_text_wraps_between_words_and_keeps_paths_whole() -> None:
    path = "a/rather/long/path/to-some-folder/of/photographs/that/goes/on/and/on/to/the/very/end/of/it.png"
    wrapped = wrap(f"threshold  see {path} for more", 60, 11)
    assert path in wrapped
    assert wrapped.splitlines()[1].startswith(" " * 11)


def on_terminal(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Return what a command prints on a terminal of 80 columns."""
    master, slave = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "adcli", *arguments],
        stdin=slave, stdout=slave, stderr=slave,
        env={**variables, "COLUMNS": "80", "TERM": "xterm", **(environment or {})},
    ):  # fmt: skip
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # Linux says so that the other end is closed.
            pass
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


def test_a_table_on_a_terminal_of_eighty_columns_holds_every_name(adcli: Adcli) -> None:
    shown = CODES.sub("", on_terminal("models"))
    assert max(map(len, shown.splitlines())) <= 80
    for model in json.loads(adcli("models", "--json").out):
        assert any(line.startswith(model["name"] + " ") for line in shown.splitlines()), model["name"]
    assert "…" not in shown


def test_an_error_is_red_on_a_terminal_unless_colour_is_not_wanted() -> None:
    red = "\x1b[31m\x1b[1mError:\x1b[0m unknown command"
    assert red in on_terminal("trian")
    assert "Error: unknown command" in on_terminal("trian", environment={"NO_COLOR": "1"})


@pytest.mark.thorough
def test_colour_can_be_forced_into_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "\x1b" not in in_own_process("trian", cwd=tmp_path).err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in in_own_process("trian", cwd=tmp_path).err


QUICK = ("-m", "padim", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=1,2")


def test_quiet_keeps_results_and_verbose_adds_versions_and_times(
    adcli: Adcli, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = adcli("-q", "train", *QUICK, "--data", parts, "--out", "quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out.startswith("run        quiet\n")
    loud = adcli("predict", "quiet", parts / "test/scratch", parts / "test/good", "-v")
    assert f"adcli {version('adcli-core')}, python " in loud.err
    assert re.search(r"took \d+\.\d\d s", loud.err)
    plain = adcli("predict", "quiet", parts / "test/scratch", "--quiet")
    assert plain.err == ""
    assert "\x1b" not in plain.out
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = adcli("predict", "quiet", parts / "test/scratch", parts / "test/good").out
    assert "\x1b[31m\x1b[1mDEFECT" in shown
    assert "\x1b[32mgood" in shown
    monkeypatch.delenv("FORCE_COLOR")
    nothing = adcli("predict", "quiet", "photos/nothing")
    assert (nothing.code, nothing.out) == (4, "")


def test_verbose_says_what_an_error_came_from(adcli: Adcli) -> None:
    Path("broken.yaml").write_text("model: [")
    outcome = adcli("train", "--config", "broken.yaml", "--verbose")
    assert outcome.code == 2
    assert re.search(r"^because: ParserError: .*\.pyx?:\d+\)$", outcome.err, re.MULTILINE)
    assert "because" not in adcli("train", "--config", "broken.yaml").err
