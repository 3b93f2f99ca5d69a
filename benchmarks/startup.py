"""Print how long ``adcli --help`` takes, as installed here and with 20 more plugins, beside a bare interpreter.

Bytecode is kept, as an installer leaves it, in a folder of the benchmark's own. The commands take turns, so that what
else the machine does falls on all of them. User and system time is what a busy machine disturbs least.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 21
PLUGINS = 20
MODULE = '''"""A generated plugin."""

from adcli import BackboneOptions, ModelSpec, hookimpl, option


class GeneratedOptions(BackboneOptions):
    """Options of the model."""

    power: float = option(2.0, "Exponent of the difference.", gt=0)
    epochs: int = option(10, "Epochs.", ge=1)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(name="{name}", target="{name}.model:Model", options=GeneratedOptions, summary="A generated model")
    ]
'''


def install(site: Path) -> None:
    """Write plugins as an installer leaves them; the code that their specs name imports torch."""
    for i in range(PLUGINS):
        name = f"adcli_generated_{i:02}"
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(MODULE.format(name=name))
        (site / name / "model.py").write_text("import torch\n\n\nclass Model(torch.nn.Module):\n    pass\n")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[adcli]\n{name} = {name}\n")


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its wall time, and its user and system time, in milliseconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, used * 1000


def main() -> None:
    """Time the three in turns and print a line each."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        site.mkdir()
        install(site)
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        plain["PYTHONPYCACHEPREFIX"] = str(Path(folder, "bytecode"))
        more = plain | {"PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))}
        helped = [sys.executable, "-m", "adcli", "--help"]
        cases = {
            "bare interpreter": ([sys.executable, "-c", "pass"], plain),
            "adcli --help": (helped, plain),
            f"with {PLUGINS} more plugins": (helped, more),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(RUNS + 1):
            for name, case in cases.items():
                times[name].append(timed(*case))
    _print({name: measured[1:] for name, measured in times.items()})


def _print(times: dict[str, list[tuple[float, float]]]) -> None:
    bare_wall, bare_used = (min(each) for each in zip(*times["bare interpreter"], strict=True))
    print(f"{'':<22} wall ms: least, median (ratio)   user+system ms: least, median (ratio)   of {RUNS} runs")
    for name, measured in times.items():
        wall, used = zip(*measured, strict=True)
        print(
            f"{name:<22} {min(wall):12.0f} {statistics.median(wall):8.0f} ({min(wall) / bare_wall:4.1f})"
            f" {min(used):22.0f} {statistics.median(used):8.0f} ({min(used) / bare_used:4.1f})"
        )


if __name__ == "__main__":
    main()
