"""Compiled graphs that are kept: the same scores, of the same graph alone, and none that is damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from adcli.exports import Export
from adcli.testing import Checked
from adcli_openvino import compiled
from adcli_openvino.runtime import load

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/openvino"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled, and not taken from the cache."""
    exported()
    seen: list[str] = []
    compile_model = ov.Core.compile_model

    def noted(core: ov.Core, model: object, *rest: object) -> ov.CompiledModel:
        seen.append(str(model))
        return compile_model(core, model, *rest)

    monkeypatch.setattr(ov.Core, "compile_model", noted)
    return seen


def exported() -> Export:
    return Checked("openvino", model="dfkde").subject().export


def other() -> Export:
    """What says that it is another graph."""
    export = exported()
    files = {**export.manifest["files"], export.facts["file"]: "0" * 64}
    return replace(export, manifest={**export.manifest, "files": files})


def test_a_graph_is_compiled_once_and_scores_the_same_from_the_cache(cache: Path, compilations: list[str]) -> None:
    first, again = (load(exported(), "cpu")(PIXELS) for _ in range(2))
    assert len(compilations) == 1
    assert len(list(cache.iterdir())) == 1
    assert np.array_equal(first[0], again[0])


def test_graphs_are_told_apart_by_their_content(compilations: list[str]) -> None:
    for export in (exported(), other()):
        load(export, "cpu")
    assert len(compilations) == 2


def test_a_folder_that_is_not_finished_is_not_kept(cache: Path, compilations: list[str]) -> None:
    export = exported()
    unfinished = {name: value for name, value in export.manifest.items() if name != "files"}
    for _ in range(2):
        load(replace(export, manifest=unfinished), "cpu")
    assert len(compilations) == 2
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b"",
        lambda content: b"nonsense",
    ],
    ids=["half", "a bit of it", "a bit of its digest", "empty", "nonsense"],
)
def test_what_is_damaged_is_compiled_anew(
    cache: Path, compilations: list[str], damage: Callable[[bytes], bytes]
) -> None:
    expected = load(exported(), "cpu")(PIXELS)[0]
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert np.array_equal(load(exported(), "cpu")(PIXELS)[0], expected)
    assert len(compilations) == 2
    load(exported(), "cpu")
    assert len(compilations) == 2


def test_where_nothing_can_be_written_graphs_are_compiled_each_time(cache: Path, compilations: list[str]) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder should be")
    expected = load(exported(), "cpu")(PIXELS)[0]
    assert np.array_equal(load(exported(), "cpu")(PIXELS)[0], expected)
    assert len(compilations) == 2


def test_what_was_not_used_for_longest_is_removed(
    cache: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(exported(), "cpu")
    (first,) = cache.iterdir()
    monkeypatch.setattr(compiled, "LARGEST", first.stat().st_size + 10)
    load(other(), "cpu")
    assert first not in list(cache.iterdir())
    assert len(list(cache.iterdir())) == 1
