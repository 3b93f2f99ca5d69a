"""What a device says is compared with the CPU, and believed once it has agreed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adcli.errors import ExportError
from adcli.exports.devices import COMPARED, compare_first
from adcli.scoring.runtime import ImageBatch, Runtime, Scored


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def export(digest: str = "a", **more: Any) -> Any:
    manifest = {"files": {"model.xml": digest}, "measured": {"range": 2.0}, **more}
    return SimpleNamespace(path=Path("export"), manifest=manifest, facts={"tolerance": 0.1})


def adding(amount: float, calls: list[int] | None = None) -> Runtime:
    def score(images: ImageBatch) -> Scored:
        if calls is not None:
            calls.append(len(images))
        return np.full(len(images), 1 + amount, np.float32), None

    return score


IMAGES = np.zeros((COMPARED // 2, 4, 4, 3), np.uint8)


def test_a_device_that_agrees_is_compared_on_its_first_images_and_never_again() -> None:
    calls: list[int] = []
    for _ in range(2):
        runtime = compare_first(adding(0.1), lambda: adding(0, calls), "gpu", export())
        for _ in range(3):
            assert runtime(IMAGES)[0].tolist() == pytest.approx([1.1] * len(IMAGES))
    assert calls == [len(IMAGES)] * 2


def test_a_device_that_differs_by_more_than_the_tolerance_is_refused() -> None:
    for amount in (0.3, float("nan")):
        runtime = compare_first(adding(amount), lambda: adding(0), "gpu", export())
        with pytest.raises(ExportError, match=r"export: on --device gpu, scores differ .* \(allowed: 0.1\)"):
            runtime(IMAGES)


@pytest.mark.parametrize(("other", "device"), [(export("b"), "gpu"), (export(), "npu")], ids=["export", "device"])
def test_what_has_agreed_says_nothing_of_another(other: Any, device: str) -> None:
    agreed = compare_first(adding(0), lambda: adding(0), "gpu", export())
    for _ in range(2):
        agreed(IMAGES)
    with pytest.raises(ExportError):
        compare_first(adding(1), lambda: adding(0), device, other)(IMAGES)


def test_too_few_images_are_no_proof() -> None:
    compare_first(adding(0), lambda: adding(0), "gpu", export())(IMAGES)
    with pytest.raises(ExportError):
        compare_first(adding(1), lambda: adding(0), "gpu", export())(IMAGES)


def test_where_nothing_can_be_written_each_process_compares_anew(cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    calls: list[int] = []
    for _ in range(2):
        runtime = compare_first(adding(0), lambda: adding(0, calls), "gpu", export())
        for _ in range(3):
            runtime(IMAGES)
    assert calls == [len(IMAGES)] * 4


def test_an_export_that_was_never_compared_says_so() -> None:
    unmeasured = export()
    del unmeasured.manifest["measured"]
    with pytest.raises(ExportError, match="export: was not compared with its run"):
        compare_first(adding(0), lambda: adding(0), "gpu", unmeasured)(IMAGES)
