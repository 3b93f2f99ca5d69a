"""What reads files of values: bounded before anything is parsed, typed by declaration, one line for what is wrong."""

import csv
import io
import json
import math
import random
import re
import time
import tracemalloc
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
import yaml

from adcli import AdcliError, RunError
from adcli._artefacts import Artefact, load_json
from adcli._artefacts.declaring import Count, Digest, FileName, Rate, Rule, Share, Side, Time, closed
from adcli._artefacts.parsing import LARGEST_YAML, parse_json, parse_yaml, read_rows
from adcli._files import read_state, seal
from adcli.errors import OptionError
from adcli.exports.export import Export
from adcli.runs.calibrations import read_calibration
from adcli.runs.images import parse_images
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run
from adcli.runs.settings import read_config

SECONDS, BYTES = 5, 100 << 20
"""What it may take to refuse a file."""


def test_yaml_is_read_as_it_is_written_and_dates_are_text() -> None:
    text = "a: 1\nb: [1.5, yes, ~, 'no', 2026-12-31, 2026-01-01 10:00:00]\nc:\n  d: |\n    two\n    lines\n"
    text += "1: on\nnull: x\n"
    assert parse_yaml(text) == {
        "a": 1,
        "b": [1.5, True, None, "no", "2026-12-31", "2026-01-01 10:00:00"],
        "c": {"d": "two\nlines\n"},
        "1": True,
        "null": "x",
    }
    assert parse_yaml("") is None
    assert parse_yaml("# nothing\n") is None


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)

NOT_YAML = {
    BOMB: "line 1 has an alias ('*') or an anchor ('&'); write the value itself",
    "a: *b": "line 1 has an alias",
    "a: !!python/object/apply:os.system [true]": "line 1 has a tag",
    "x: 1\na: !!int x": "line 2 has a tag",
    "<<: {a: 1}": "line 1 has a key that is no text",
    "a: 1\nb: 2\na: 3": "line 3 has the key 'a' twice",
    "[1, 2]: 3": "line 1 has a key that is no text",
    "a: " + "9" * 5000: "which is no number that can be used",
    "a: 0x" + "f" * 5000: "which is no decimal number; write one, or put a text in quotes",
    **{
        f"x: 1\na: [{text}]": f"line 2 has '{text}', which is no decimal number; write one, or put a text in quotes"
        for text in ("1:30", "1:2:3:4", "-1:30", "1:30.5", "0x10", "0b11", "010", "1_000", "1_0.5", "+0x1", ".1_0")
    },
    "a: 99999999999999999999": "which is no number that can be used",
    'a: "\\0"': "line 1 has a NUL character",
    "[" * 500 + "]" * 500: "values that are nested too deeply",
    "[" * 100_000: "maximum nesting depth",
    "{a: " * 100_000: "nested too deeply",
    "- " * 100_000 + "x": "nested too deeply",
    "- x\n" * 60_000: "too many values",
    "a: 1\n---\nb: 2\n": "line 2 has a second document",
    "a: [1": "line ",
    "a: \x07": "control characters",
    "x" * (LARGEST_YAML + 1): "longer than 1024 KiB",
    "? " * 100_000: "a key that is no text",
    "{" * 50_000: "maximum nesting depth",
    "a:\n" * 50_000: "the key 'a' twice",
    '"' + "\\x41" * 200_000: "unexpected end of stream",
}


@pytest.mark.parametrize("text", NOT_YAML, ids=range(len(NOT_YAML)))
def test_what_no_reader_of_settings_should_do_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(NOT_YAML[text])), bounded():
        parse_yaml(text)


NOT_JSON = {
    "": "Expecting value",
    "[" * 100_000: "nested too deeply",
    '{"a":' * 100_000: "nested too deeply",
    "[" + "1," * 9_000_000 + "1]": "too many values",
    "[]," * 9_000_000: "too many values",
    '{"a": 1, "a": 2}': "a name twice",
    "NaN": "not finite",
    "[-Infinity]": "not finite",
    "1e400": "not finite",
    "9" * 5000: "a number of 5000 digits",
    "-99999999999999999999": "a number of 21 digits",
    "1." + "1" * 1_000_000: "too many digits",
    '"\x07"': "Invalid control character",
}


@pytest.mark.parametrize("text", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_of_bounded_size_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=NOT_JSON[text]), bounded():
        parse_json(text)


class bounded:  # noqa: N801 - reads like a function
    """Checks that what happens within takes neither long nor much memory."""

    def __enter__(self) -> None:
        tracemalloc.start()
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.perf_counter() - self.start < SECONDS * 4
        assert peak < BYTES, f"{peak >> 20} MB"


def test_json_that_may_be_infinite_is_read() -> None:
    low, none = parse_json("[-Infinity, NaN]", finite=False)
    assert low == -math.inf
    assert math.isnan(none)


def _draw(random: random.Random, depth: int = 0) -> Any:
    kind = random.randrange(9 if depth < 4 else 7)
    letters = "aB0 :#-?*&!|>'\"%@`{}[],\n\r\t\\/~=<\x1b\x7f\x85\u2028\ufeffß写😀\udc80."
    if kind == 7:
        return [_draw(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 8:
        return {_text(random, letters): _draw(random, depth + 1) for _ in range(random.randrange(4))}
    words = ["yes", "null", "~", "1:30", "0x1", "1e3", "2026-01-01", "<<", "=", "", " ", "---", "...", "- a", "? a"]
    return (
        [None, True, random.randrange(-(2**63), 2**63), random.uniform(-1e9, 1e9), 1e300, random.choice(words)][kind]
        if kind < 6
        else _text(random, letters)
    )


def _text(random: random.Random, letters: str) -> str:
    return "".join(random.choice(letters) for _ in range(random.randrange(200 if random.random() < 0.05 else 12)))


@pytest.mark.parametrize("value", [0, -1, 64, 2**63 - 1, 0.0, -0.5, 1e300, 1e-300, 0.01, math.inf])
def test_a_number_is_read_as_it_is_dumped(value: float) -> None:
    for text in (yaml.safe_dump({"a": value}), f"a: {'.inf' if value == math.inf else value}"):
        read = parse_yaml(text)["a"]
        # What YAML takes for a text, such as 1e+300, is told as one.
        assert read == value if not isinstance(read, str) else float(read) == value


@pytest.mark.parametrize("name", ["seed", "batch_size", "workers", "false_alarm_rate", "image_size", "region", "white"])
@pytest.mark.parametrize("text", ["1:30", "1:2:3:4", "0x40", "0100", "1_0", "yes", "2026-01-01", "1:30.5", '"1:30"'])
def test_a_setting_takes_no_number_that_is_not_decimal(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{name}: {text}\n")
    with pytest.raises(OptionError) as caught:
        read_config(tmp_path / "config.yaml")
    assert caught.value.format_message().isprintable()


def test_a_text_in_quotes_that_looks_like_a_number_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: '010'\nmodel: \"1:30\"\n")
    assert read_config(tmp_path / "config.yaml") == {"data": "010", "model": "1:30"}


def test_whatever_is_sealed_is_read_back(tmp_path: Path) -> None:
    source = random.Random(0)
    for _ in range(300):
        content = {"key": _draw(source), _text(source, "abc: -'\"\n#ß"): [_draw(source)]}
        assert Artefact(tmp_path, RunError).unseal(seal(content)) == content


def test_one_value_in_two_places_is_written_twice(tmp_path: Path) -> None:
    shared = [64, 64]
    text = seal({"a": shared, "b": {"c": shared}})
    assert "&" not in text
    assert Artefact(tmp_path, RunError).unseal(text) == {"a": [64, 64], "b": {"c": [64, 64]}}


class Inner(TypedDict):
    names: list[FileName]
    of: NotRequired[Digest | None]


class Declared(TypedDict):
    text: str
    number: float
    count: Count
    share: Share
    time: Time
    size: tuple[Side, Side]
    kind: Literal["a", "b"] | None
    by_name: dict[FileName, Inner]
    rate: NotRequired[Rate]
    flag: NotRequired[bool]
    rest: NotRequired[dict[str, Any]]


GOOD: dict[str, Any] = {
    "text": "line\nbreak",
    "number": 1,
    "count": 0,
    "share": 1,
    "time": "2026-11-27T05:31:14Z",
    "size": [64, 32],
    "kind": None,
    "by_name": {"a/b.xml": {"names": ["c"], "of": "0" * 64}},
    "beside": {"what": ["a newer version", {"writes": None}]},
}


def test_what_is_as_declared_is_returned(tmp_path: Path) -> None:
    file = Artefact(tmp_path / "x.json", RunError)
    assert file.check(GOOD, Declared) == GOOD
    assert isinstance(file.check(GOOD, Declared)["number"], float)
    more = {**GOOD, "rate": 0.01, "flag": False, "rest": {"a": [1, "x"]}, "kind": "b"}
    more["time"] = "2026-11-27T05:31:14+0100"
    assert file.check(more, Declared) == more


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": None}, "text is null, not a text without NUL"),
        ({"text": "a\0b"}, r"text is 'a\x00b', not a text without NUL"),
        ({"number": "1"}, "number is '1', not a finite number"),
        ({"number": True}, "number is true, not a finite number"),
        ({"number": math.inf}, "number is inf, not a finite number"),
        ({"count": -1}, "count is -1, not a whole number of at least 0"),
        ({"count": 1.0}, "count is 1.0, not a whole number of at least 0"),
        ({"count": True}, "count is true, not a whole number of at least 0"),
        ({"share": 1.5}, "share is 1.5, not a number from 0 to 1"),
        ({"time": "2026-99-27T05:31:14Z"}, "time is '2026-99-27T05:31:14Z', not a time such as"),
        ({"time": "2026-11-27T05:31:14"}, "time is '2026-11-27T05:31:14', not a time such as"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time is '0001-01-01T00:00:00+14:00', not a time such as"),
        ({"time": 3}, "time is 3, not a time such as"),
        ({"size": [64]}, "size is a list of 1, not a list of 2, each a number of pixels"),
        ({"size": [64, 0]}, "size[1] is 0, not a number of pixels"),
        ({"size": "64"}, "size is '64', not a list of 2"),
        ({"kind": "c"}, "kind is 'c', not 'a' or 'b' or null"),
        ({"kind": []}, "kind is a list of 0, not 'a' or 'b' or null"),
        ({"by_name": []}, "by_name is a list of 0, not a mapping"),
        (
            {"by_name": {"../a": {"names": []}}},
            "by_name has a name that is '../a', not the name of a file",
        ),
        (
            {"by_name": {"/a": {"names": []}}},
            "by_name has a name that is '/a', not the name of a file",
        ),
        (
            {"by_name": {"a\nb": {"names": []}}},
            "by_name has a name that is 'a b', not the name of a file",
        ),
        ({"by_name": {"a": {}}}, "by_name.a.names is missing"),
        ({"by_name": {"a": {"names": [1]}}}, "by_name.a.names[0] is 1, not the name of a file below the folder"),
        ({"by_name": {"a": {"names": [], "of": "0"}}}, "by_name.a.of is '0', not a sha256 or null"),
        ({"rate": 0}, "rate is 0, not a rate from 1e-9 to below 1"),
        ({"rate": 1}, "rate is 1, not a rate from 1e-9 to below 1"),
        ({"flag": 1}, "flag is 1, not true or false"),
        ({"rest": {1: 2}}, "rest has a name that is 1, not a text"),
        ({"text": 10**100}, "text is 1000"),
    ],
)
def test_another_value_is_named_with_its_field_in_one_line(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = Artefact(tmp_path / "x.json", RunError, "do this")
    with pytest.raises(RunError) as caught:
        file.check({**GOOD, **change}, Declared)
    message = caught.value.format_message()
    assert message.startswith(f"{tmp_path / 'x.json'}: {words}")
    assert message.endswith("; do this.")
    assert message.isprintable()


def test_nesting_beside_what_is_declared_is_bounded(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    for change in ({"unknown": deep}, {"rest": {"x": deep}}):
        with pytest.raises(RunError, match="is nested too deeply"):
            Artefact(tmp_path / "x", RunError).check({**GOOD, **change}, Declared)


def test_a_closed_declaration_takes_no_other_key(tmp_path: Path) -> None:
    @closed
    class Closed(TypedDict):
        a: int

    assert Artefact(tmp_path / "x", RunError).check({"a": 1}, Closed) == {"a": 1}
    with pytest.raises(RunError, match="b c is not known; upgrade adcli-core if a newer one wrote it"):
        Artefact(tmp_path / "x", RunError).check({"a": 1, "b\nc": 1}, Closed)


def test_a_rule_of_ones_own_says_what_is_wanted(tmp_path: Path) -> None:
    class Even(TypedDict):
        even: Annotated[int, Rule("even", lambda value: [value][value % 2])]

    (tmp_path / "x").write_text('{"even": 2}')
    assert load_json(Artefact(tmp_path / "x", RunError), Even) == {"even": 2}


def _sparse(path: Path) -> Path:
    """Make a file of one gigabyte that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(1 << 30)
    return path


def _open_config(folder: Path) -> object:
    return read_config(folder / "config.yaml")


READERS: dict[str, Any] = {
    "run.yaml": Run.open,
    "calibration.json": lambda folder: read_calibration(folder, "weights"),
    "manifest.yaml": Export.open,
    "metrics.json": read_metrics,
    "images.csv": lambda folder: parse_images(folder / "images.csv"),
    "config.yaml": _open_config,
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_gigabyte_is_refused_without_being_read(name: str, tmp_path: Path) -> None:
    _sparse(tmp_path / name)
    with pytest.raises(AdcliError) as caught, bounded():
        READERS[name](tmp_path)
    assert name in caught.value.format_message()


@pytest.mark.thorough
def test_rows_are_bounded_whatever_never_ends() -> None:
    for text in ("x" * (17 << 20), '"' + "x" * (17 << 20), '"' + "\n" * (17 << 20), '"\n","\n",' * (3 << 20)):
        with pytest.raises(ValueError, match="line "):
            list(read_rows(io.StringIO(text, newline="")))


def test_rows_are_read_as_csv_reads_them() -> None:
    text = 'a,b\r\n"x\ny","say ""no"""\n\n1,2\r3,4'
    rows = list(read_rows(io.StringIO(text, newline="")))
    assert [row for _, row in rows] == list(csv.reader(io.StringIO(text, newline="")))
    assert [line for line, _ in rows] == [1, 3, 4, 5, 6]


def test_a_state_is_told_to_be_too_large_whatever_it_grows_to(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x" * 11)
    assert read_state(tmp_path / "x", 11) == "x" * 11
    with pytest.raises(OSError, match="Is larger than 0 KiB"):
        read_state(tmp_path / "x", 10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 1 has an alias"),
        ("model: [padim]", "model must be text, not"),
        ("model: padim\n1: 2", "1 is not a setting"),
        ("? [a]\n: b", "line 1 has a key that is no text"),
        ("model: padim\nseed: " + "9" * 5000, "line 2 has '999"),
        ("model: padim\nseed: -1", "seed must be at least 0, not -1"),
        ("model: padim\nfalse_alarm_rate: .nan", "false_alarm_rate must be at least 1e-09, not nan"),
        ("model: padim\nimage_size: 2026-01-01", "image_size must be N or HEIGHTxWIDTH"),
        ("model: padim\noptions: [[a, b]]", "options must be"),
        ("model: padim\nmodel: stfpm", "line 2 has the key 'model' twice"),
        ('data: "a\\0b"', "line 1 has a NUL character"),
        ('"a\\nError: b": 1', "a Error: b is not a setting"),
        ("[a]", "holds no settings"),
        ("x\n", "holds no settings"),
    ],
)
def test_a_config_file_is_held_to_the_same(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(OptionError) as caught:
        read_config(tmp_path / "config.yaml")
    message = caught.value.format_message()
    assert message.startswith(f"--config {tmp_path / 'config.yaml'}: ")
    assert words in message
    assert message.isprintable()


def test_scores_of_a_million_good_images_are_read(tmp_path: Path) -> None:
    values = [i / 7 for i in range(300_000)]
    text = json.dumps({"image_scores": values, "digests": ["0" * 64] * len(values)})

    class Scores(TypedDict):
        image_scores: list[float]
        digests: list[Digest]

    read = Artefact(tmp_path, RunError).check(parse_json(text), Scores)
    assert read["image_scores"] == values
