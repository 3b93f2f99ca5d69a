"""Long tests are left out of every run that does not ask for them."""

import os
import re
import signal

import pytest

# Kernels for GPUs are tested by Triton's interpreter, which has to be chosen before anything imports Triton.
os.environ.setdefault("TRITON_INTERPRET", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whoever starts the tests in the background has Ctrl-C ignored, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = {
    "thorough": "more than three seconds each: models fitted in two processes, killed processes, browsers, figures",
    "matrix": "models x backbones x exporters, and figures on the pages",
    "fuzz": "mutated input and killed processes",
}
"""Marks of tests that take longer than all others together."""


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark, tested in LONG.items():
        parser.addoption(f"--{mark}", action="store_true", help=f"also run the tests marked '{mark}': {tested}")
    parser.addoption("--minutes", type=float, default=0.5, help="how long input is mutated")
    parser.addoption("--inputs", type=int, default=0, help="how many inputs are mutated, at least")
    parser.addoption("--fuzz-seed", default="0", help="which inputs are mutated")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect long tests. A default ``-m`` in ``addopts`` would not do: a ``-m`` on the command line replaces it."""
    for item in items:
        # The rule itself is tested with the core's models; of a plugin it takes as long as all other rules together.
        of_plugin = "plugins" in item.path.parts and item.name.endswith("[two_processes_agree_with_one]")
        # A browser draws each page anew, and an executor's tasks are processes.
        has_browser = "browser" in getattr(item, "fixturenames", ())
        if of_plugin or has_browser or item.name.endswith("[every_task_has_one_outcome]"):
            item.add_marker("thorough")
    asked = [mark for mark in LONG if is_asked_for(mark, config)]
    # Of a test with several marks the last counts, as that of a single parameter of a long test.
    marks = ((item, [mark for mark in LONG if item.get_closest_marker(mark)]) for item in items)
    long = [item for item, found in marks if found and found[-1] not in asked]
    left_out = [item for item in long if not item.get_closest_marker("sampled")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def is_asked_for(mark: str, config: pytest.Config) -> bool:
    """Tell whether an option, the expression after ``-m`` or the name of a single test asks for a mark's tests."""
    names_a_test = any("::" in argument for argument in config.args)
    in_expression = re.search(rf"\b{mark}\b", config.option.markexpr or "")
    return bool(config.getoption(mark) or in_expression or names_a_test)
