"""What rules for several kinds of plugins check; nothing here imports torch or numpy."""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from adcli._plugins.registry import CORE, Plugin, registry
from adcli.errors import AdcliError, PluginError, one_line
from adcli.options import Options
from adcli.specs import DatasetSpec, ExporterSpec, ModelSpec

NAME = r"[a-z][a-z0-9_]*"


def assert_described_lightly(plugin: Plugin, options: type[Options] | None, heavy: Sequence[str]) -> None:
    """Check in a process of its own that loading a plugin and describing options imports none of some packages.

    All other plugins are disabled there: this one is not to blame for what they import.
    """
    describe = (
        "" if options is None else f"importlib.import_module({options.__module__!r}).{options.__qualname__}.describe()"
    )
    code = (
        "import sys, importlib\nfrom adcli._plugins.registry import load\nload()\n"
        f"{describe}\nprint([name for name in {tuple(heavy)!r} if name in sys.modules])"
    )
    others = [other.name for other in registry().plugins if other.distribution not in (plugin.distribution, CORE)]
    printed = run_python(code, disabled=others).strip().splitlines()[-1]
    assert printed == "[]", f"the plugin's module imports {printed}: move that to its target"


def run_python(code: str, *arguments: str, disabled: Sequence[str] = ()) -> str:
    """Return what code prints in a process of its own, with some plugins disabled; fails with its last error line."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if disabled:
        variables["ADCLI_DISABLE"] = ",".join(disabled)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return done.stdout


def assert_documented(spec: ModelSpec | DatasetSpec | ExporterSpec) -> None:
    """Check that a spec has a name as users type it, a summary, and help for every option."""
    assert re.fullmatch(NAME, spec.name), f"name '{spec.name}' is not lower case with underscores"
    assert spec.summary, "the spec has no summary"
    silent = [info.name for info in spec.options.describe() if not info.help]
    assert not silent, f"options without help: {silent}"


def assert_silent(action: Callable[[], object]) -> None:
    """Check that something prints nothing and writes nothing into the current folder."""
    found = traces(action)
    assert not found, found


def traces(action: Callable[[], object]) -> str:
    """Return what something prints, or writes into the current folder, in words; nothing if it does neither."""
    printed, before = io.StringIO(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                action()
            written = [path.name for path in Path(folder).iterdir()]
        finally:
            os.chdir(before)
    if printed.getvalue():
        return f"printed: {printed.getvalue()[:80]!r}"
    return f"written: {written}" if written else ""


def assert_refused(action: Callable[[], object], what: str, *words: str) -> None:
    """Check that something raises an ``AdcliError`` of its own, of one line that holds the words."""
    raised = _raised(action)
    assert raised is not None, f"{what} raises nothing"
    assert isinstance(raised, AdcliError), f"{what} raises {one_line(raised)}, no AdcliError"
    message = raised.format_message()
    assert message.strip(), f"{what}: the message is empty"
    assert len(message.splitlines()) == 1, f"{what}: the message has {len(message.splitlines())} lines, not one"
    for word in words:
        assert word in message, f"{what}: the message does not say '{word}': {message}"


def _raised(action: Callable[[], object]) -> Exception | None:
    """Return what something raises; if the core has made one line of a plugin's error, the plugin's error."""
    try:
        action()
    except PluginError as error:
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    except Exception as error:
        return error
    return None
