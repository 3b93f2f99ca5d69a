"""Kernels compile for NVIDIA's GPUs, which needs none: the interpreter, which runs them in tests, takes more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from adcli.nn import _kernels
from adcli_patchcore import kernels

HALVES = dict.fromkeys(("high", "low", "row_high", "row_low", "column_high", "column_low"), "*fp16")
NUMBERS = dict.fromkeys(("count", "size", "total", "share", "positions", "height", "width", "channels"), "i32")
TYPES = {**HALVES, **NUMBERS, **dict.fromkeys(("index", "found", "done"), "*i64")}
capability, shared, matrix = int(sys.argv[1]), int(sys.argv[2]), kernels.Tile(*map(int, sys.argv[3:]))


def build(kernel, constants, **options):
    names = kernel.arg_names
    types = {name: "constexpr" if name in constants else TYPES.get(name, "*fp32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name].startswith("*")}
    source = ASTSource(kernel, types, {(names.index(name),): value for name, value in constants.items()}, aligned)
    made = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert made.metadata.shared <= shared, (kernel, made.metadata.shared)


tile = {"PADDED": 128, "ROWS": matrix.rows, "COLUMNS": matrix.columns, "STEP": kernels.STEP}
for kernel in kernels._nearest, kernels._compare:
    build(kernel, tile, num_stages=matrix.stages, num_warps=matrix.warps)
build(kernels._split, {"SIZE": 100, "PADDED": 128, "WIDTH": 128, "ROWS": 32})
build(kernels._measure, {"SIZE": 100, "WIDTH": 128, "ROWS": 32})
build(kernels._pick, {"WIDTH": 2048}, num_warps=8)
for centre in 0, 1:
    build(_kernels._average, {"CENTRE": centre, "POSITIONS": 16, "CHANNELS": 128})
"""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "shared", "tile"),
    [(80, 163, (128, 256, 3, 8)), (86, 99, (128, 128, 2, 8)), (90, 227, (128, 256, 3, 8))],
    ids=["A100", "RTX 3090", "H100"],
)
def test_kernels_compile_and_fit_the_shared_memory(
    capability: int, shared: int, tile: tuple[int, ...], tmp_path: Path
) -> None:
    """``shared`` is in KiB; the tiles are those that :func:`adcli_patchcore.kernels._tile` takes for it."""
    pytest.importorskip("triton")
    # A file, as Triton reads kernels' sources.
    (tmp_path / "build.py").write_text(COMPILE)
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, tmp_path / "build.py", str(capability), str(shared * 1024), *map(str, tile)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
