"""An export is accepted only where scores, maps and verdicts are those of its run."""

import numpy as np
import pytest
from numpy.typing import NDArray

from adcli.data.decoding import Pixels, resize
from adcli.data.samples import Label
from adcli.errors import ExportError
from adcli.exports.agreement import Comparison, Tolerance, compare, disagreement, judge, speeds
from adcli.scoring.runtime import Scored

SIZE = (8, 8)


def brightness(images: Pixels) -> Scored:
    """Score images of any size by their brightness."""
    maps = np.stack([resize(image, SIZE) for image in images]).astype(np.float32).mean(axis=3)
    return maps.mean(axis=(1, 2)), maps


def images(count: int = 6) -> list[tuple[NDArray[np.uint8], Label | None]]:
    random = np.random.default_rng(0)
    return [(random.integers(0, 40 * (i + 1), (8 + i, 30 - i, 3)).astype(np.uint8), None) for i in range(count)]


def compared(original: list[float], exported: list[float], labels: str = "") -> Comparison:
    """Compare scores of images whose labels are ``g``, ``d``, or not known."""
    known: list[Label | None] = ["good" if letter == "g" else "defect" for letter in labels]
    return Comparison(np.array(original), np.array(exported), None, 0.0, known or [None] * len(original))


def test_a_graph_equals_itself_on_images_of_any_size() -> None:
    found = compare(brightness, brightness, images(), SIZE)
    assert len(found.original) == 6
    judged = judge(found, 1.0, None, None, Tolerance(1e-3))
    assert (judged["score_difference"], judged["map_difference"]) == (0, 0)
    assert "verdicts" not in judged
    assert disagreement(judged) == ""


def test_differences_are_relative_to_the_range_of_good_scores() -> None:
    judged = judge(compared([1, 2, 3], [1, 2.5, 3]), 10.0, None, None, Tolerance(0.1))
    assert judged["score_difference"] == pytest.approx(0.05)
    assert disagreement(judged) == ""
    assert "scores differ by up to 0.05 of their range, above 0.04" in disagreement({**judged, "tolerance": 0.04})


def test_a_score_that_is_no_number_never_passes() -> None:
    assert disagreement(judge(compared([1, 2], [1, np.nan]), 1.0, None, None, Tolerance(1e9)))
    nothing = compare(brightness, lambda pixels: (brightness(pixels)[0], np.full((1, 8, 8), np.nan)), images(), SIZE)
    assert "maps differ" in disagreement(judge(nothing, 1.0, None, None, Tolerance(1e9)))


def test_a_wrong_map_is_refused_though_scores_agree() -> None:
    def transposed(pixels: Pixels) -> Scored:
        scores, maps = brightness(pixels)
        assert maps is not None
        return scores, maps.transpose(0, 2, 1)

    judged = judge(compare(brightness, transposed, images(), SIZE), 1.0, None, None, Tolerance(0.01))
    assert judged["score_difference"] == 0
    assert "maps differ" in disagreement(judged)
    with pytest.raises(ExportError, match="shape"):
        compare(brightness, lambda pixels: (brightness(pixels)[0], None), images(), SIZE)


def test_verdicts_that_are_too_close_to_tell_are_set_apart() -> None:
    # Thresholds 5 and 5.05, a margin of 0.1: the third image is within it, the last changes sides beyond it.
    found = compared([1, 9, 4.95, 4.0], [1, 9, 5.1, 6.0])
    judged = judge(found, 1.0, 5.0, 5.05, Tolerance(0.1))
    assert judged["verdicts"] == {"equal": 2, "unequal": 1, "near_threshold": 1}
    assert "1 of 4 images get another verdict" in disagreement({**judged, "score_difference": 0.0})


def test_good_images_that_score_alike_leave_the_range_to_the_others() -> None:
    assert judge(compared([1, 3], [1, 3.2]), 0.0, None, None, Tolerance(0.1))["score_difference"] == pytest.approx(0.1)


def test_speed_is_that_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli.exports import agreement as comparison

    monkeypatch.setattr(comparison, "ROUND_SECONDS", 0.0)
    measured = speeds(brightness, brightness, [image for image, _ in images(1)])
    assert set(measured) == {"threads", "batch_1", "batch_16"}
    for batch in ("batch_1", "batch_16"):
        found = measured[batch]
        assert found["ratio"] == pytest.approx(found["export"] / found["run"], rel=0.1, abs=0.01)


def test_where_ranking_is_what_matters_defects_far_out_may_differ_but_good_images_may_not() -> None:
    ranked = Tolerance(0.1, auroc_drop=0.01)
    far = compared([1, 2, 9, 50], [1, 2.05, 9, 40], "ggdd")
    assert "scores differ" in disagreement(judge(far, 1.0, None, None, Tolerance(0.1)))
    judged = judge(far, 1.0, None, None, ranked)
    assert disagreement(judged) == ""
    assert judged["score_difference"] == pytest.approx(0.05)
    assert judged["auroc"] == {"run": 1.0, "export": 1.0, "allowed_drop": 0.01}
    assert "scores differ" in disagreement(
        judge(compared([1, 2, 9, 50], [1, 2.5, 9, 40], "ggdd"), 1.0, None, None, ranked)
    )
    worse = judge(compared([1, 2, 2.01, 50], [1, 2, 1.99, 50], "ggdd"), 1.0, None, None, ranked)
    assert disagreement(worse) == (
        "its image AUROC falls from 1.000000 to 0.750000, by 0.25, above 0.01 (-o auroc_drop=0.01)"
    )
    assert "scores differ" in disagreement(judge(compared([1, 9], [1, np.nan], "gd"), 1.0, None, None, ranked))


@pytest.mark.parametrize("labels", ["", "gggg"])
def test_without_both_labels_all_scores_are_compared(labels: str) -> None:
    judged = judge(compared([1, 2, 9, 50], [1, 2, 9, 40], labels), 1.0, None, None, Tolerance(0.1, auroc_drop=0.01))
    assert "auroc" not in judged
    assert "scores differ" in disagreement(judged)
