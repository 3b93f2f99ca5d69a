"""What nothing else expected: one line with a number to look up, and the traceback in a file for a report."""

import contextlib
import hashlib
import os
import platform
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import click

from adcli._commands import quote
from adcli._files import storing, write_atomically
from adcli._plugins.tracing import trace_failure
from adcli._process.interruption import told_code
from adcli.cli.console import wants_colour
from adcli.errors import StorageError, one_line, place, printable

EXIT_CODE = 70
"""What sysexits.h calls an internal software error."""

KEPT = 20
"""Files that are kept, the newest; one number has one file."""

_LONGEST = 1 << 20
"""Bytes of a file: a traceback can hold whatever an error quotes."""


def state_folder() -> Path:
    """Return where files for reports go: ``ADCLI_STATE``, else where the system has programs keep such.

    Raises:
        RuntimeError: there is no home folder.
    """
    if os.environ.get("ADCLI_STATE"):
        return Path(os.environ["ADCLI_STATE"])
    # A relative path there is to be ignored, says its specification.
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():
        return given / "adcli"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "adcli"
    return Path.home() / ("Library/Logs/adcli" if sys.platform == "darwin" else ".local/state/adcli")


def show_crash(error: BaseException, arguments: Sequence[str]) -> int:
    """Print one line on stderr about a fault of adcli, keep its traceback, and return the exit code."""
    trace_failure(error)
    _say(f"{click.style('Error:', fg='red', bold=True)} {_describe(error, arguments)}")
    return EXIT_CODE


def keep_off_terminal() -> None:
    """Have errors of threads and finalizers, which end no command, be kept and said in a line, too."""
    threading.excepthook = _note_thread
    sys.unraisablehook = _note_unraisable


def _note_thread(what: threading.ExceptHookArgs) -> None:
    _note(what.exc_value, "a thread")


def _note_unraisable(what: "sys.UnraisableHookArgs") -> None:
    _note(what.exc_value, "a finalizer")


def _note(error: BaseException | None, where: str) -> None:
    # What is raised while the process is told to end is no fault.
    if error is not None and not isinstance(error, SystemExit | KeyboardInterrupt) and not told_code():
        trace_failure(error)
        _say(f"warning: in {where}: {_describe(error, sys.argv[1:])}")


def _say(line: str) -> None:
    # Whoever closed stderr has the file.
    with contextlib.suppress(OSError, ValueError):
        click.echo(line, err=True, color=wants_colour())


def _describe(error: BaseException, arguments: Sequence[str]) -> str:
    """Return what to say of an error, after keeping its traceback."""
    number = number_of(error)
    what = f"internal error {number}: {one_line(error).rstrip('.')}{place(error, 'adcli')}; please report it"
    try:
        path = _keep(number, error, arguments)
    except (StorageError, OSError, RuntimeError, ValueError) as problem:
        return f"{what}: ADCLI_TRACE=1 shows more, which is not kept ({one_line(problem).rstrip('.')})."
    return f"{what} with the file {printable(str(path))}."


def number_of(error: BaseException) -> str:
    """Return a number of eight digits that is the same wherever the same fault appears."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # Neither lines, which every change moves, nor other packages' code, of which everybody has another version.
    way = [
        f"{name}:{frame.f_code.co_name}"
        for frame in frames
        if (name := str(frame.f_globals.get("__name__"))).startswith("adcli")
    ]
    digest = hashlib.sha256("\n".join([type(error).__name__, *way[-8:]]).encode(errors="replace")).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 10**8:08}"


def _keep(number: str, error: BaseException, arguments: Sequence[str]) -> Path:
    """Write the file about an error, remove the oldest ones, and return its path; raises what storing it raises."""
    folder = state_folder().absolute()
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"error-{number}.txt"
    text = "\n".join([*_describe_process(arguments), "", "".join(traceback.format_exception(error))])
    write_atomically(path, text.encode(errors="backslashreplace")[:_LONGEST])
    kept = [file for file in folder.iterdir() if re.fullmatch(r"error-\d{8}\.txt", file.name)]
    for old in sorted(kept, key=lambda file: file.lstat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _describe_process(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what a report has to say beside the traceback, a line each."""
    yield f"time      {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    yield f"command   {quote('adcli', *(argument[:1000] for argument in arguments[:1000]))}"
    with contextlib.suppress(OSError):
        yield f"folder    {Path.cwd()}"
    yield f"platform  {platform.platform()}"
    yield f"python    {platform.python_version()} ({sys.executable})"
    for name, version in sorted(_installed()):
        yield f"{name:<9} {version}"


def _installed() -> Iterator[tuple[str, str]]:
    """Yield the packages that may have to do with it; plugins are not loaded for that."""
    others = ("torch", "numpy", "pillow", "timm", "torchvision", "onnxruntime", "openvino", "click", "safetensors")
    for found in metadata.distributions():
        name = str(found.metadata["Name"] or "").lower()
        if name.startswith("adcli") or name in others:
            yield name, found.version
