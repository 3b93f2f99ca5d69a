"""Options: one declaration serves the command line, YAML and Python, and refuses what does not fit."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest

from adcli import Options, option
from adcli.errors import OptionError


class Sample(Options):
    """One option of every type."""

    share: float = option(0.5, "A share.", gt=0, le=1)
    count: int = option(3, "A count.", ge=1)
    deep: bool = option(False, "A switch.")
    name: str = option("plain", "A name.")
    layers: tuple[int, ...] = option((1, 2), "Layers.", ge=1)
    mode: Literal["add", "multiply"] = option("add", "A mode.")
    weights: Path | None = option(None, "A file.")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("count", "7", 7),
        ("deep", "yes", True),
        ("deep", "off", False),
        ("deep", True, True),
        ("layers", "2,3", (2, 3)),
        ("layers", [4], (4,)),
        ("layers", "2", (2,)),
        ("mode", "multiply", "multiply"),
        ("weights", "a/b", Path("a/b")),
        ("weights", "none", None),
        ("weights", None, None),
        ("name", "x=y", "x=y"),
    ],
)
def test_strings_and_yaml_values_become_what_is_declared(name: str, given: object, expected: object) -> None:
    value = getattr(Sample.parse({name: given}), name)
    assert value == expected
    assert type(value) is type(expected) or isinstance(value, type(expected))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("share", "lots", "number"),
        ("share", "0", "greater than 0"),
        ("share", 1.5, "at most 1"),
        ("share", "nan", "share"),
        ("count", 2.5, "count must be an integer, not 2.5."),
        ("count", "2.5", "integer"),
        ("count", True, "integer"),
        ("count", None, "integer"),
        ("count", 0, "at least 1"),
        ("deep", "perhaps", "true or false"),
        ("deep", 1, "true or false"),
        ("layers", "1,0", "at least 1"),
        ("layers", "1,x", "integers separated by commas, not '1,x'"),
        ("weights", 3.5, "a path or none, not 3.5"),
        ("mode", "divide", "must be add or multiply, not 'divide'"),
        ("shares", 1, "Did you mean 'share'?"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, given: object, words: str) -> None:
    with pytest.raises(OptionError) as refused:
        Sample.parse({name: given})
    assert words in refused.value.format_message()
    assert name in refused.value.format_message()


def test_a_declared_default_is_checked_like_a_given_value() -> None:
    class Wrong(Options):
        share: float = option(2.0, "A share.", le=1)

    with pytest.raises(OptionError, match="share"):
        Wrong()


def test_options_round_trip_through_plain_values() -> None:
    options = Sample(share=0.1, layers=(3,), weights=Path("w.safetensors"), mode="multiply")
    plain = options.to_dict()
    assert plain["layers"] == [3]
    assert plain["weights"] == "w.safetensors"
    assert Sample.parse(plain) == options


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().count = 2  # type: ignore[misc]


def test_options_inherit_and_may_change_defaults() -> None:
    class More(Sample):
        count: int = option(9, "Another default.", ge=5)

    assert More().count == 9
    assert More().share == Sample().share
    with pytest.raises(OptionError):
        More(count=2)


def test_every_option_describes_itself() -> None:
    described = {info.name: info for info in Sample.describe()}
    assert described["share"].allowed == "> 0, <= 1"
    assert described["mode"].allowed == "add | multiply"
    assert described["weights"].type == "path or none"
    assert described["layers"].default == (1, 2)
    assert all(info.help for info in described.values())


def test_a_mapping_default_is_not_shared() -> None:
    class Holder(Options):
        values: dict[str, Any] = option({}, "Values.")

    Holder().values["a"] = 1
    assert Holder().values == {}
