"""Installed distributions with plugins, written as an installer leaves them: a module and a dist-info folder."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support import Outcome

MODEL = """
from adcli import ModelSpec, Options, hookimpl


@hookimpl
def adcli_models():
    return [ModelSpec(name="{model}", target="{module}_code:Model", options=Options, summary="a generated model")]
"""


def install(
    site: Path,
    distribution: str,
    code: str,
    *,
    module: str | None = None,
    entry: str | None = None,
    version: str = "1.0",
    needs: tuple[str, ...] = (),
    metadata: str = "",
) -> None:
    """Write a distribution whose one module holds ``code``; its entry point is called as the module unless named."""
    module = module or distribution.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(code)
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{requires}{metadata}"
    )
    (info / "entry_points.txt").write_text(f"[adcli]\n{entry or module} = {module}\n")


def run(
    site: Path, *arguments: object, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run ``adcli`` in a process of its own with what is installed in a folder."""
    search = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "adcli", *map(str, arguments)],
        cwd=cwd or site,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
