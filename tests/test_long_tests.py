"""Long tests run for whoever asks for them, and for nobody else but in samples."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ASKED = {
    "": "plain slow sampled",
    "-m slow": "slow",
    "-m not+slow": "plain sampled",
    "-m matrix": "matrix",
    "-m fuzz": "fuzz sampled",
    "--matrix": "plain slow matrix sampled",
    "--fuzz -m slow": "slow fuzz",
    "-k matrix": "",
    "test_suite.py::test_fuzz": "fuzz",
}
"""Which tests run for which arguments; + is a space within one."""

SUITE = """
import pytest

def test_plain():
    pass

@pytest.mark.slow
def test_slow():
    pass

@pytest.mark.{0}
def test_{0}():
    pass

@pytest.mark.{1}
@pytest.mark.slow
def test_{1}():
    pass

@pytest.mark.{1}
@pytest.mark.sampled
def test_sampled():
    pass
"""
RUNNER = """
import json, sys
import pytest

class Called(list):
    __hash__ = object.__hash__  # which older versions of pytest take of a plugin

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.append(report.nodeid.partition("::test_")[2])

def called(asked):
    tests = Called()
    words = [word.replace("+", " ") for word in asked.split()]
    code = pytest.main(["-q", "-p", "no:cacheprovider", *words], plugins=[tests])
    assert code == (0 if tests else 5), code
    return " ".join(tests)

print(json.dumps({asked: called(asked) for asked in json.loads(sys.argv[1])}))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Which tests of a small suite each list of arguments runs; one process, since pytest takes long to start."""
    folder = tmp_path_factory.mktemp("suite")
    shutil.copy(ROOT / "conftest.py", folder)
    # The marks are put in here, so that no session takes this file for long tests.
    (folder / "test_suite.py").write_text(SUITE.format("matrix", "fuzz"))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  matrix\n  fuzz\n  sampled\n")
    command = [sys.executable, "-c", RUNNER, json.dumps(list(ASKED))]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("asked", ASKED)
def test_long_tests_run_if_they_are_asked_for(asked: str, ran: dict[str, str]) -> None:
    assert ran[asked] == ASKED[asked]
