"""Metrics agree with scikit-learn and scipy, and AUPRO and AUPIMO with plain transcriptions of their definitions."""

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from adcli.metrics import image_metrics, interval, rates, summarise
from adcli.metrics.pixels import KEPT, PixelMetrics, ordered_keys

Maps = list[np.ndarray]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_image_metrics_are_those_of_scikit_learn(seed: int, decimals: int) -> None:
    random = np.random.default_rng(seed)
    is_defect = random.random(80) < 0.3
    scores = np.round(random.normal(size=80) + is_defect, decimals)
    found = image_metrics(scores, is_defect)
    assert found["auroc"] == pytest.approx(roc_auc_score(is_defect, scores))
    assert found["average_precision"] == pytest.approx(average_precision_score(is_defect, scores))
    rate, found_share, _ = roc_curve(is_defect, scores, drop_intermediate=False)
    assert found["fpr_at_95_tpr"] == pytest.approx(rate[np.argmax(found_share >= 0.95)])
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


@pytest.mark.parametrize("total", [1, 7, 40, 1000])
def test_intervals_are_those_of_clopper_and_pearson(total: int) -> None:
    for count in {0, 1, total // 3, total}:
        expected = binomtest(count, total).proportion_ci(0.95, method="exact")
        assert interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


def regions_of(maps: Maps, masks: Maps) -> Maps:
    """Return the values in each 8-connected region."""
    found = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = label(mask, structure=np.ones((3, 3)))
        found += [anomaly_map[labels == i + 1] for i in range(count)]
    return found


def plain_aupro(maps: Maps, masks: Maps, limit: float = 0.3, seen: Maps | None = None) -> float:
    """Walk down all thresholds; at each, the mean share of every region that is found, and the false-positive rate."""
    regions = regions_of(maps, masks)
    seen = seen or [np.ones_like(mask) for mask in masks]
    good = np.concatenate([m[~mask & known] for m, mask, known in zip(maps, masks, seen, strict=True)])
    x, y = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        x.append((good >= threshold).mean())
        y.append(np.mean([(region >= threshold).mean() for region in regions]))
    return plain_area(x, y, 0.0, limit) / limit


def plain_area(x: list[float], y: list[float], low: float, high: float) -> float:
    """Add up the trapezia between two abscissae, cutting those that reach beyond."""
    total = 0.0
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        left, right = max(x0, low), min(x1, high)
        if right > left:
            at = [y0 + (y1 - y0) * (end - x0) / (x1 - x0) for end in (left, right)]
            total += (right - left) * sum(at) / 2
    return total


def plain_aupimo(maps: Maps, masks: Maps) -> list[float]:
    """Walk down all thresholds for each defective image; the rate is the mean of the images without a defect."""
    normal = [m for m, mask in zip(maps, masks, strict=True) if not mask.any()]
    areas = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if not mask.any():
            continue
        thresholds = np.unique(np.concatenate([anomaly_map[mask], *(m.ravel() for m in normal)]))[::-1]
        rate = [float(np.mean([(m >= threshold).mean() for m in normal])) for threshold in thresholds]
        found = [float((anomaly_map[mask] >= threshold).mean()) for threshold in thresholds]
        positive = [i for i, value in enumerate(rate) if value > 0]
        x, y = [np.log(rate[i]) for i in positive], [found[i] for i in positive]
        areas.append(plain_area(x, y, np.log(1e-5), np.log(1e-4)) / np.log(10))
    return areas


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


def measured(maps: Maps, masks: Maps, exact: int = 2**25, kinds: list[str] | None = None) -> PixelMetrics:
    metrics = PixelMetrics(exact)
    for anomaly_map, mask, kind in zip(maps, masks, kinds or [None] * len(maps), strict=True):
        metrics.update(anomaly_map, mask, kind)
    return metrics


def independent(maps: Maps, masks: Maps) -> dict[str, float]:
    """Return all pixel metrics but AUPIMO, by other code."""
    labels, values = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    precision, recall, _ = precision_recall_curve(labels, values)
    return {
        "auroc": roc_auc_score(labels, values),
        "average_precision": average_precision_score(labels, values),
        "f1_max": np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)),
        "aupro": plain_aupro(maps, masks),
        "aupro_0.05": plain_aupro(maps, masks, 0.05),
    }


@pytest.mark.parametrize("shift", [0.0, -20.0])
@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize("seed", range(4))
def test_pixel_metrics_are_exact(seed: int, decimals: int, shift: float) -> None:
    maps, masks = random_maps(seed, shift)
    maps = [np.round(m, decimals) for m in maps]
    found = measured(maps, masks).result()
    assert found == {name: pytest.approx(value, abs=1e-6) for name, value in independent(maps, masks).items()}


@pytest.mark.parametrize("shift", [0.0, -20.0, 1000.0])
@pytest.mark.parametrize("seed", range(4))
def test_beyond_the_bound_metrics_are_as_far_off_as_stated_at_most(seed: int, shift: float) -> None:
    maps, masks = random_maps(seed, shift)
    for exact in (0, maps[0].size, 2 * maps[0].size):
        found = measured(maps, masks, exact).result()
        error = found["error"]
        for name, value in independent(maps, masks).items():
            assert abs(found[name] - value) <= error[name] + 1e-9, name
            if shift < 1000:
                assert error[name] < 5e-3, name


@pytest.mark.parametrize("exact", [0, 2**25])
@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_was_looked_at_defects_are_missed_and_good_pixels_do_not_count(seed: int, exact: int) -> None:
    maps, masks = random_maps(seed)
    random = np.random.default_rng(seed)
    seen = [random.random(mask.shape) < 0.7 for mask in masks]
    metrics = PixelMetrics(exact)
    for anomaly_map, mask, known in zip(maps, masks, seen, strict=True):
        metrics.update(np.where(known, anomaly_map, np.float32(np.nan)), mask, None, known)
    found = metrics.result()
    missed = [np.where(known, m, np.float32(-100)) for m, known in zip(maps, seen, strict=True)]
    counted = [known | mask for known, mask in zip(seen, masks, strict=True)]
    labels, values = (
        np.concatenate([part[count] for part, count in zip(parts, counted, strict=True)]) for parts in (masks, missed)
    )
    error = found["error"] if exact == 0 else dict.fromkeys(found, 0.0)
    for name, expected in (
        ("auroc", roc_auc_score(labels, values)),
        ("average_precision", average_precision_score(labels, values)),
        ("aupro", plain_aupro(missed, masks, seen=seen)),
    ):
        assert abs(found[name] - expected) <= error[name] + 1e-6, name
    defects = np.concatenate([mask.ravel() for mask in masks])
    assert found["unseen"] == pytest.approx(1 - np.concatenate([known.ravel() for known in seen])[defects].mean())


def test_an_image_of_which_nothing_was_looked_at_counts_for_nothing() -> None:
    maps, masks = random_maps(0)
    metrics = measured(maps, masks)
    expected = metrics.result()
    metrics.update(np.full((5, 5), np.nan, np.float32), np.zeros((5, 5), bool), None, np.zeros((5, 5), bool))
    assert metrics.result() == expected


@pytest.mark.parametrize("name", ["constant", "two values", "perfect", "all wrong", "a region of one pixel"])
def test_degenerate_maps_are_measured_exactly_too(name: str) -> None:
    mask = np.zeros((12, 12), bool)
    mask[2:5, 3:6] = True
    if name == "a region of one pixel":
        mask[9, 9] = True
    values = {
        "constant": np.full(mask.shape, 3.0),
        "two values": np.random.default_rng(0).integers(0, 2, mask.shape),
        "perfect": mask * 2.0,
        "all wrong": mask * -2.0,
        "a region of one pixel": np.random.default_rng(0).normal(size=mask.shape),
    }[name]
    maps, masks = [values.astype(np.float32)], [mask]
    for exact in (0, 10**6):
        found = measured(maps, masks, exact).result()
        error = found.pop("error", dict.fromkeys(found, 0.0))
        for metric, value in independent(maps, masks).items():
            assert abs(found[metric] - value) <= error[metric] + 1e-6, metric


def test_a_map_that_is_no_number_or_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite numbers"):
        measured([np.full((3, 3), np.nan, np.float32)], [np.zeros((3, 3), bool)])
    with pytest.raises(ValueError, match="differ in size"):
        measured([np.zeros((3, 3), np.float32)], [np.zeros((3, 4), bool)])


def large_maps(decimals: int) -> tuple[Maps, Maps]:
    """Draw maps whose good images have enough pixels for rates of 1e-5, of two sizes, and three defective ones."""
    random = np.random.default_rng(0)
    maps, masks = [], []
    for shape, defective in (((340, 320), 0), ((400, 300), 0), ((60, 50), 4), ((40, 70), 6), ((60, 60), 60)):
        mask = np.zeros(shape, bool)
        mask[:defective, : 2 * defective] = True
        maps.append(np.round(random.normal(size=shape) + mask * 3.5, decimals).astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_aupimo_is_its_definition(decimals: int) -> None:
    maps, masks = large_maps(decimals)
    # The transcription walks all thresholds of two large images: those far below the rates in question say nothing.
    lowered = [np.maximum(m, 2.5) if not mask.any() else m for m, mask in zip(maps, masks, strict=True)]
    expected = plain_aupimo(lowered, masks)
    assert measured(maps, masks).result()["aupimo"] == pytest.approx(np.mean(expected), abs=1e-6)
    bounded = measured(maps, masks, 0).result()
    assert abs(bounded["aupimo"] - np.mean(expected)) <= bounded["error"]["aupimo"]
    assert bounded["error"]["aupimo"] < 0.03
    assert masks[-1].sum() > KEPT, "an image of which bounded memory keeps a part"
    one = measured(maps, masks, kinds=["", "", "a", "b", "b"]).by_kind()
    assert one["a"]["aupimo"] == pytest.approx(expected[0], abs=1e-6)
    assert one["b"]["aupimo"] == pytest.approx(np.mean(expected[1:]), abs=1e-6)


def test_aupimo_needs_enough_good_pixels() -> None:
    maps, masks = random_maps(0)
    assert "aupimo" not in measured(maps, masks).result()


@pytest.mark.parametrize("exact", [0, 2**25])
def test_a_kind_of_defect_is_compared_with_all_good_pixels(exact: int) -> None:
    maps, masks = random_maps(0)
    found = measured(maps, masks, exact, kinds=["dent", "hole", ""]).by_kind()
    assert set(found) == {"dent", "hole"}
    for i, kind in enumerate(("dent", "hole")):
        good = np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)])
        defect = maps[i][masks[i]]
        labels = np.arange(len(good) + len(defect)) >= len(good)
        assert found[kind]["pixel_auroc"] == pytest.approx(
            roc_auc_score(labels, np.concatenate([good, defect])), abs=1e-6 if exact else 1e-3
        )


def test_many_images_of_a_kind_are_merged_without_loss() -> None:
    maps, masks = random_maps(0)
    many, once = measured(maps * 20, masks * 20, 0).result(), measured(maps, masks, 0).result()
    many.pop("error"), once.pop("error")
    assert many == {name: pytest.approx(value) for name, value in once.items()}


def test_regions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2, 2] = mask[3, 3] = True
    values = np.zeros((8, 8), np.float32)
    values[2, 2], values[0, 0] = 2, 1
    # Half of the one region lies above every good pixel, the rest is tied with all but one.
    assert measured([values], [mask]).result()["aupro_0.05"] == pytest.approx(plain_aupro([values], [mask], 0.05))
    mask[3, 3], mask[6, 6] = False, True
    assert measured([values], [mask]).result()["aupro_0.05"] == pytest.approx(plain_aupro([values], [mask], 0.05))


def test_a_common_offset_that_hides_the_maps_is_admitted_by_the_error() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:4, :4] = True
    anomaly_map = (1e6 + mask * 0.01).astype(np.float32)
    assert measured([anomaly_map], [mask], 0).result()["error"]["auroc"] == pytest.approx(0.5)


def test_the_order_of_all_floats_is_kept_and_negative_zero_is_zero() -> None:
    values = np.array([-np.float32(3e38), -1e30, -1.0, -1e-40, 0.0, 1e-40, 1.0, 3e38], np.float32)
    assert (np.diff(ordered_keys(values).astype(np.int64)) > 0).all()
    assert ordered_keys(np.array([-0.0], np.float32)) == ordered_keys(np.array([0.0], np.float32))


def test_without_masks_there_is_no_pixel_metric() -> None:
    metrics = PixelMetrics()
    metrics.update(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))
    assert metrics.result() == {}


def test_each_kind_of_defect_is_compared_with_all_good_images() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    is_defect = np.array([False, True, False, True])
    mask = np.array([[True, False]])
    pixels = measured([np.array([[2.0, 1.0]], np.float32)], [mask], kinds=["hole"])
    summary = summarise(scores, is_defect, [None, "dent", None, "hole"], 1.5, pixels)
    assert summary["image"]["false_alarm_rate_interval"] == list(interval(1, 2))
    low, high = interval(0, 1)
    dent, hole = summary["defects"]["dent"], summary["defects"]["hole"]
    assert dent == {
        "n": 1,
        "auroc": 0.5,
        "average_precision": 0.5,
        "detection_rate": 0.0,
        "detection_rate_interval": [low, high],
    }
    assert (hole["auroc"], hole["detection_rate"], hole["pixel_auroc"]) == (1.0, 1.0, 1.0)
    assert summary["pixel"]["auroc"] == 1.0
    assert "pixel" not in summarise(scores, is_defect, [None, "dent", None, "hole"], 1.5, PixelMetrics())
