"""Print the median wall time of ``adcli --help`` over runs, beside that of a bare interpreter."""

import statistics
import subprocess
import sys
import time

RUNS = 21


def median_seconds(command: list[str]) -> float:
    """Return the median wall time of a command after one warm-up."""
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    """Time both and print one line."""
    bare = median_seconds([sys.executable, "-c", "pass"])
    helped = median_seconds([sys.executable, "-m", "adcli", "--help"])
    print(f"adcli --help {helped * 1000:.0f} ms, bare interpreter {bare * 1000:.0f} ms (median of {RUNS})")


if __name__ == "__main__":
    main()
