"""The rows of a map are those of the whole map, and no more of them is in memory than is asked for."""

import tracemalloc

import numpy as np
import pytest

from adcli.data.decoding import resize_map
from adcli.scoring.enlarging import enlarge


@pytest.mark.parametrize("known", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("seed", range(40))
def test_rows_are_those_of_the_whole_map_to_the_bit(seed: int, known: float) -> None:
    random = np.random.default_rng(seed)
    height, width, *size = (int(side) for side in random.integers(1, 90, 4))
    if seed % 4 == 0:
        size = [height, width][:: 1 if seed % 8 else -1]
    anomaly_map = (random.standard_normal((height, width)) * 10.0 ** random.integers(-3, 4)).astype(np.float32)
    anomaly_map[random.random(anomaly_map.shape) >= known] = np.nan
    whole = resize_map(anomaly_map, (size[0], size[1]))
    rows = enlarge(anomaly_map, (size[0], size[1]))
    assert rows.shape == whole.shape
    np.testing.assert_array_equal(rows[:], whole)
    for top in range(size[0]):
        np.testing.assert_array_equal(rows[top : top + 3], whole[top : top + 3])


@pytest.mark.parametrize("model_size", [(256, 256), (1600, 2000)])
def test_the_largest_photograph_needs_no_map_of_its_size(model_size: tuple[int, int]) -> None:
    anomaly_map = np.random.default_rng(0).random(model_size, np.float32)
    tracemalloc.start()
    try:
        rows = enlarge(anomaly_map, (20_000, 30_000))
        assert rows[10_000:10_002].shape == (2, 30_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Twice the rows of the map, as wide as the photograph; a whole map takes 2.4 GB.
    assert peak < 3 * model_size[0] * 30_000 * 4
