"""With ``ADCLI_TRACE=1``, print every hook call and every import of a plugin's code on stderr, with the time it took.

If a plugin's code fails, its traceback is printed as well.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from adcli.errors import one_line

T = TypeVar("T")


def trace(what: str, who: object, action: Callable[[], T]) -> T:
    """Run an action and return its result; if ``ADCLI_TRACE`` is set, print a line about it."""
    if not _is_on():
        return action()
    start = time.perf_counter()
    try:
        result = action()
        outcome = one_line(_abbreviate(result))
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"raised {one_line(error)}, {frame.filename}:{frame.lineno}"
        raise
    finally:
        milliseconds = (time.perf_counter() - start) * 1000
        print(f"trace: {what} of {who}: {outcome} ({milliseconds:.1f} ms)", file=sys.stderr, flush=True)
    return result


def trace_failure(error: BaseException) -> None:
    """Print the traceback of an error if ``ADCLI_TRACE`` is set."""
    if _is_on():
        traceback.print_exception(error, file=sys.stderr)


def _is_on() -> bool:
    return os.environ.get("ADCLI_TRACE", "0") not in ("", "0")


def _abbreviate(value: Any) -> str:
    """Return type and name of a spec, class, function or module; the ``repr`` of anything else."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_abbreviate(part) for part in value)}]"
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return f"{type(value).__name__} {name}" if isinstance(name, str) else repr(value)
