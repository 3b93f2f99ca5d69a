"""``ADCLI_TRACE=1``: every hook call, and every import of a plugin's code, on stderr with the time it took.

And, where plugin code fails, the traceback that is otherwise left out.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from adcli.errors import one_line

T = TypeVar("T")


def traced(what: str, who: object, action: Callable[[], T]) -> T:
    """Do something and return its result; with ``ADCLI_TRACE`` set, print a line about it."""
    if not _wanted():
        return action()
    start = time.perf_counter()
    try:
        result = action()
        outcome = one_line(_in_short(result))
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"raised {one_line(error)}, {frame.filename}:{frame.lineno}"
        raise
    finally:
        milliseconds = (time.perf_counter() - start) * 1000
        print(f"trace: {what} of {who}: {outcome} ({milliseconds:.1f} ms)", file=sys.stderr, flush=True)
    return result


def trace_failure(error: BaseException) -> None:
    """With ``ADCLI_TRACE`` set, print the traceback of an error."""
    if _wanted():
        traceback.print_exception(error, file=sys.stderr)


def _wanted() -> bool:
    return os.environ.get("ADCLI_TRACE", "0") not in ("", "0")


def _in_short(value: Any) -> str:
    """Return the names of specs, of classes, functions and modules, or what else it is."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_in_short(part) for part in value)}]"
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return f"{type(value).__name__} {name}" if isinstance(name, str) else repr(value)
