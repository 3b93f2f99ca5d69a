"""Whatever is given to an option of ``adcli train``: it is taken, or one line says what is wrong with it."""

from pathlib import Path

import pytest
from support import Adcli, write_parts

from adcli.errors import AdcliError
from adcli.pipeline import _train
from adcli.runs.settings import FIELDS

OPTIONS = [
    *(f"--{name.replace('_', '-')}" for name in FIELDS if name not in ("options", "data_options", "skip_unreadable")),
    *("-o", "-d", "--backbone", "--config", "--out", "--resume"),
]
MANY = "9" * 40
LONG = "x" * 300
VALUES = [
    *("", " ", "-1", "0", MANY, "1e400", "1e-320", "nan", "-inf", "٣", "1_0", "18446744073709551616"),
    *(LONG, f"/{LONG}", "a/" * 3000, ".", "file.txt", "file.txt/x", "/dev/null", "~nobody/x", "\udcfc", "line\nbreak"),
    *("=", "layers=", "a=b=c", "[", "**", f"{MANY}-fold", f"{MANY},0,16,16", f"{MANY}x16", "random:", f"cuda:{MANY}"),
    *("table:", f"table:{LONG}", "table:file.txt", "demo:x", "mvtec_ad:bottle,"),
]


@pytest.mark.parametrize("option", OPTIONS)
def test_no_value_of_an_option_ends_in_a_traceback(
    adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def taken(*_: object) -> None:
        raise AdcliError("taken")

    monkeypatch.setattr(_train, "_carry_out", taken)
    write_parts(tmp_path / "parts", train=6, good=1, defective=1)
    Path("file.txt").write_text("x")
    usual = {"--model": "dfm", "--data": "parts", "--backbone": "random:resnet18", "--image-size": "64"}
    others = [] if option == "--resume" else [part for name in usual if name != option for part in (name, usual[name])]
    for value in VALUES:
        outcome = adcli("train", *others, option, value)
        errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
        assert outcome.code != 0, value
        assert len(errors) == 1, (value, outcome.err)
        assert outcome.code != 1 or errors == ["Error: taken"], (value, outcome.err)
