"""What rules for several kinds of plugins check; nothing here imports torch or numpy."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from adcli._plugins.registry import CORE, Plugin, registry
from adcli.errors import AdcliError, PluginError, one_line
from adcli.options import Options
from adcli.specs import DatasetSpec, ExecutorSpec, ExporterSpec, ModelSpec
from adcli.testing._failures import Frames, LocatedError, from_process

NAME = r"[a-z][a-z0-9_]*"


WATCH_IMPORTS = """
import json, sys, traceback
class Watch:
    def __init__(self, names):
        self.names, self.found = names, {}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            self.found.setdefault(name, [(call.filename, call.lineno) for call in traceback.extract_stack()])
    def report(self):
        print(json.dumps(self.found))
watch = Watch(json.loads(sys.argv[1]))
sys.meta_path.insert(0, watch)
"""
"""Code that notes where some packages are imported first, of which it gets the names as first argument, in JSON."""

_DESCRIBE = """
import importlib
from adcli._plugins.registry import load
load()
if sys.argv[2]:
    getattr(importlib.import_module(sys.argv[2]), sys.argv[3]).describe()
watch.report()
"""


def assert_described_lightly(plugin: Plugin, options: type[Options] | None, heavy: Sequence[str]) -> None:
    """Check in a process of its own that loading a plugin and describing options imports none of some packages.

    All other plugins are disabled there: this one is not to blame for what they import.
    """
    described = ("", "") if options is None else (options.__module__, options.__qualname__)
    others = [other.name for other in registry().plugins if other.distribution not in (plugin.distribution, CORE)]
    assert_imports_none("describing it", _DESCRIBE, heavy, *described, disabled=others)


def assert_imports_none(
    what: str, code: str, heavy: Sequence[str], *arguments: str, disabled: Sequence[str] = ()
) -> None:
    """Check that code, after :data:`WATCH_IMPORTS` in a process of its own, imports none of some packages."""
    printed = run_python(WATCH_IMPORTS + code, json.dumps(heavy), *arguments, disabled=disabled)
    found: dict[str, Frames] = json.loads(printed.strip().splitlines()[-1])
    if found:
        name, frames = next(iter(found.items()))
        raise LocatedError(f"{what} imports {name}, expected not to: import it in the function that needs it", frames)


def run_python(code: str, *arguments: str, disabled: Sequence[str] = (), path: Sequence[str] = ()) -> str:
    """Return what code prints in a process of its own; fails with its last error line.

    Args:
        code: what it runs.
        arguments: what the code gets.
        disabled: plugins that it goes without.
        path: folders to import from, before those of this process.
    """
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*path, *sys.path]))}
    if disabled:
        variables["ADCLI_DISABLE"] = ",".join(disabled)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode:
        raise from_process(done.stderr, done.returncode)
    return done.stdout


def assert_documented(spec: ModelSpec | DatasetSpec | ExporterSpec | ExecutorSpec) -> None:
    """Check that a spec has a name as users type it, a summary, and help for every option."""
    assert_named(spec.name, spec.summary)
    silent = [info.name for info in spec.options.describe() if not info.help]
    assert not silent, f"expected help for every option, found none for {', '.join(silent)}"


def assert_named(name: str, summary: str, pattern: str = NAME) -> None:
    """Check that a spec has a name as users type it, and a summary."""
    assert re.fullmatch(pattern, name), f"name is '{name}', expected lower case letters, digits and underscores"
    assert summary.strip(), f"the spec of '{name}' has no summary, expected one line"


class Traces(NamedTuple):
    """What something leaves behind.

    Attributes:
        words: what it printed first, or the files it wrote; empty if it left nothing.
        frames: where it printed.
    """

    words: str
    frames: Frames = ()

    def assert_none(self) -> None:
        """Fail if there are any."""
        if self.words:
            raise LocatedError(f"{self.words}, expected nothing", self.frames)


class _Listener(io.StringIO):
    """A stream that knows who wrote to it first."""

    frames: Frames = ()

    def write(self, text: str) -> int:
        if not self.frames:
            self.frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_stack()]
        return super().write(text)


def assert_silent(action: Callable[[], object]) -> None:
    """Check that something prints nothing and writes nothing into the current folder."""
    traces(action).assert_none()


def traces(action: Callable[[], object]) -> Traces:
    """Return what something prints, or writes into the current folder."""
    printed, before = _Listener(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                action()
            written = sorted(path.name for path in Path(folder).iterdir())
        finally:
            os.chdir(before)
    if printed.getvalue():
        return Traces(f"printed {printed.getvalue()[:80]!r}", printed.frames)
    return Traces(f"wrote {', '.join(written)} into the current folder" if written else "")


def assert_refused(action: Callable[[], object], what: str, *words: str) -> str:
    """Check that something raises an ``AdcliError`` of its own, of one line that holds the words; return the line."""
    raised = _raised(action)
    assert raised is not None, f"{what} raises nothing, expected an AdcliError"
    problem = _find_fault(raised, words)
    if problem:
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(raised.__traceback__)]
        raise LocatedError(f"{what}: {problem}", frames) from raised
    assert isinstance(raised, AdcliError)
    return raised.format_message()


def _find_fault(raised: Exception, words: Sequence[str]) -> str:
    """Return what is wrong with an error that a user can cause, or nothing."""
    if not isinstance(raised, AdcliError):
        return f"raises {one_line(raised) if str(raised) else type(raised).__name__}, expected an AdcliError"
    message = raised.format_message()
    if len(message.strip().splitlines()) != 1:
        return f"the message has {len(message.strip().splitlines())} lines, expected one"
    missing = [word for word in words if word not in message]
    return f"expected a message that says '{missing[0]}', found: {message}" if missing else ""


def _raised(action: Callable[[], object]) -> Exception | None:
    """Return what something raises; if the core has made one line of a plugin's error, the plugin's error."""
    try:
        action()
    except PluginError as error:
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    except Exception as error:
        return error
    return None
