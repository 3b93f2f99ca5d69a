"""Nothing that is mutated ends in a traceback, a hang, too much memory, a wrong state, or a write elsewhere.

Thirty seconds run with all other tests. ``nox -s fuzz -- --minutes 60`` runs for longer, ``--inputs 20000`` for as many
inputs, ``--fuzz-seed 1`` tries others.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).with_name("fuzzing.py")


def fuzz(*arguments: str) -> dict[str, object]:
    """Mutate input in a process of its own, and return what it prints."""
    done = subprocess.run([sys.executable, FUZZING, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.fuzz
@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists() or not hasattr(os, "fork"), reason="needs fork and /proc")
def test_nothing_mutated_does_harm(request: pytest.FixtureRequest) -> None:
    minutes, inputs, seed = map(request.config.getoption, ("--minutes", "--inputs", "--fuzz-seed"))
    # Other tests have the other cores, unless nothing but this is asked for.
    processes = 1 if minutes <= 0.5 and not inputs else os.cpu_count() or 1
    given = {"--seconds": 60 * minutes, "--inputs": inputs, "--seed": seed, "--processes": processes}
    outcome = fuzz(*(str(part) for pair in given.items() for part in pair))
    print(f"inputs by kind in {outcome['seconds']} s: {outcome['tried']}")
    assert not outcome["found"], "\n".join(map(str, outcome["found"]))  # type: ignore[call-overload]
