"""Metrics agree with scikit-learn, and AUPRO with a plain transcription of its definition."""

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from adcli.metrics import PixelMetrics, image_metrics, rates, summarise


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_image_metrics_are_those_of_scikit_learn(seed: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    is_defect = random.random(80) < 0.3
    scores = np.round(random.normal(size=80) + is_defect, decimals)
    found = image_metrics(scores, is_defect)
    assert found["auroc"] == pytest.approx(roc_auc_score(is_defect, scores))
    assert found["average_precision"] == pytest.approx(average_precision_score(is_defect, scores))
    precision, recall, _ = precision_recall_curve(is_defect, scores)
    assert found["f1_max"] == pytest.approx(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def test_a_single_class_gives_counts_and_no_invented_metric() -> None:
    assert image_metrics(np.arange(3.0), np.zeros(3, bool)) == {"n_good": 3, "n_defect": 0}


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        image_metrics(np.array([1.0, np.nan]), np.array([True, False]))


def test_rates_count_what_lies_above_the_threshold() -> None:
    found = rates(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]), 2.0)
    assert found["false_alarm_rate"] == 0
    assert found["detection_rate"] == 1
    found = rates(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]), 1.5)
    assert (found["true_positives"], found["false_positives"]) == (2, 1)
    assert (found["true_negatives"], found["false_negatives"]) == (1, 0)


def plain_aupro(maps: list[np.ndarray], masks: list[np.ndarray], limit: float = 0.3) -> float:
    """Walk down all thresholds; at each, the mean share of every region that is found, and the false-positive rate."""
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = label(mask, structure=np.ones((3, 3)))
        regions += [anomaly_map[labels == i + 1] for i in range(count)]
    good = np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)])
    x, y = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        x.append((good >= threshold).mean())
        y.append(np.mean([(region >= threshold).mean() for region in regions]))
    fine = np.append(np.array(x)[np.array(x) < limit], limit)
    return float(np.trapezoid(np.interp(fine, x, y), fine) / limit)


def random_maps(seed: int, shift: float = 0.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw maps of several sizes with touching and separate regions, and one image without defect."""
    random = np.random.default_rng(seed)
    maps, masks = [], []
    for height, width, count in ((20, 30, 2), (25, 15, 3), (16, 16, 0)):
        mask = np.zeros((height, width), bool)
        for _ in range(count):
            row, column = random.integers(0, height - 5), random.integers(0, width - 5)
            mask[row : row + random.integers(2, 5), column : column + random.integers(2, 5)] = True
        maps.append((random.normal(size=mask.shape) + 1.5 * mask + shift).astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("shift", [0.0, -20.0])
@pytest.mark.parametrize("seed", range(4))
def test_pixel_metrics_agree_with_their_definitions(seed: int, shift: float) -> None:
    maps, masks = random_maps(seed, shift)
    metrics = PixelMetrics()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        metrics.update(anomaly_map, mask)
    found = metrics.result()
    labels, values = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    assert abs(found["auroc"] - roc_auc_score(labels, values)) <= found["auroc_error_bound"] + 1e-9
    assert found["auroc_error_bound"] < 2e-3
    assert found["average_precision"] == pytest.approx(average_precision_score(labels, values), abs=2e-3)
    assert found["aupro"] == pytest.approx(plain_aupro(maps, masks), abs=4e-3)


def test_regions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2, 2] = mask[3, 3] = True
    corner = PixelMetrics()
    corner.update(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32), mask)
    assert corner._regions == 1


def test_a_common_offset_that_hides_the_maps_is_admitted_by_the_bound() -> None:
    metrics = PixelMetrics()
    mask = np.zeros((16, 16), bool)
    mask[:4, :4] = True
    metrics.update((1e6 + mask * 0.01).astype(np.float32), mask)
    assert metrics.result()["auroc_error_bound"] == pytest.approx(0.5)


def test_negative_zero_and_the_order_of_all_floats_are_kept() -> None:
    metrics = PixelMetrics()
    mask = np.array([[True, True, False, False]])
    metrics.update(np.array([[0.0, -1e30, -0.0, -2e30]], np.float32), mask)
    # Of the four pairs: 0 = -0, 0 > -2e30, -1e30 < -0, -1e30 > -2e30.
    assert metrics.result()["auroc"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)


def test_without_masks_there_is_no_pixel_metric() -> None:
    metrics = PixelMetrics()
    metrics.update(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))
    assert metrics.result() == {}


def test_each_kind_of_defect_is_compared_with_all_good_images() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    is_defect = np.array([False, True, False, True])
    summary = summarise(scores, is_defect, [None, "dent", None, "hole"], 1.5, PixelMetrics())
    assert summary["defects"]["dent"] == {"n": 1, "auroc": 0.5, "detection_rate": 0.0}
    assert summary["defects"]["hole"] == {"n": 1, "auroc": 1.0, "detection_rate": 1.0}
    assert "pixel" not in summary
