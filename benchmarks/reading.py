"""Time reading large photographs: decoding and resizing as a ratio to Pillow's decoding alone, in the same run.

The second column of each size is ``--reading scaled``, which changes only JPEGs.

    python benchmarks/reading.py [--width 4000] [--rounds 9]

The photographs are boards of ``demo:large``, as their file has them and with the noise of a poorer camera. Every ratio
is one of the shortest times of several rounds, in which both are timed in turn.
"""

import argparse
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from adcli._process.allocation import keep_freed_memory
from adcli.data.decoding import decode
from adcli.data.demo.large import draw_large
from adcli.data.framing import PLAIN, Framing

SIZES = (256, 512)
SCALED = Framing(reading="scaled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    # As every command does.
    keep_freed_memory()
    files = make_files(arguments.width)
    print(f"{'file':<12} {'MB':>6} {'decoding':>9}  " + "  ".join(f"to {size}  scaled" for size in SIZES))
    for name, content in files.items():
        works = [lambda content=content: decode_alone(content)]
        for size in SIZES:
            works.append(lambda content=content, size=size: read(content, size))
            works.append(lambda content=content, size=size: read(content, size, SCALED))
        alone, *others = shortest(works, arguments.rounds)
        ratios = "  ".join(f"{seconds / alone:6.2f}" for seconds in others)
        print(f"{name:<12} {len(content) / 1e6:6.1f} {1000 * alone:6.0f} ms  {ratios}")
    works = [lambda threads=threads: read_all(files["jpeg"], threads) for threads in (1, 2)]
    one, two = shortest(works, arguments.rounds)
    print(f"two threads read {one / two:.2f} times as many JPEGs a second as one")


def make_files(width: int) -> dict[str, bytes]:
    """Return the same photograph in several formats."""
    pixels, _ = draw_large(1, width=width)
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    board, noisy = Image.fromarray(pixels), Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    return {
        "jpeg": encode(board, "JPEG", quality=92),
        "noisy jpeg": encode(noisy, "JPEG", quality=92),
        "png": encode(noisy, "PNG", compress_level=3),
        "bmp": encode(board, "BMP"),
        "grey jpeg": encode(board.convert("L"), "JPEG", quality=92),
        "grey png": encode(noisy.convert("L"), "PNG", compress_level=3),
    }


def encode(image: Image.Image, form: str, **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def decode_alone(content: bytes) -> None:
    Image.open(io.BytesIO(content)).load()


def read(content: bytes, size: int, framing: Framing = PLAIN) -> None:
    sides = (size, size)
    found = decode(content, "photograph", look=lambda original: framing.view(original, sides, "photograph"))
    framing.fitted(found.pixels, sides, "photograph", found.view)


def shortest(works: list[Callable[[], None]], rounds: int) -> list[float]:
    """Return the shortest time of each work, timed in turn."""
    times = [[clock(work) for work in works] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def clock(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read_all(content: bytes, threads: int, count: int = 24) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda _: read(content, SIZES[0]), range(count)):
            pass


if __name__ == "__main__":
    main()
