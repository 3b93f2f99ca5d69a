"""Print how long the pixel metrics of large maps take, and how much memory: ``python benchmarks/pixel_metrics.py``.

A hundred maps of 1024 x 1024, four fifths of them with ten defects each; beyond what is kept exactly.
"""

import resource
import time

import numpy as np

from adcli.metrics.pixels import PixelMetrics

MAPS, SIDE, DEFECTS = 100, 1024, 10


def main() -> None:
    """Measure on one core."""
    random = np.random.default_rng(0)
    metrics, seconds = PixelMetrics(), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for i in range(MAPS):
        mask = np.zeros((SIDE, SIDE), bool)
        for row, column in random.integers(0, SIDE - 60, (DEFECTS if i % 5 else 0, 2)):
            mask[row : row + 50, column : column + 50] = True
        anomaly_map = random.standard_normal(mask.shape, dtype=np.float32) + 2 * mask
        start = time.process_time()
        metrics.update(anomaly_map, mask)
        seconds += time.process_time() - start
    start = time.process_time()
    found = metrics.result()
    seconds += time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print({name: value for name, value in found.items() if name != "error"})
    print("error", found.get("error"))
    print(f"{seconds:.1f} s of one core, {peak - before} MB")


if __name__ == "__main__":
    main()
