"""Finding runs: by path, by name or the beginning of one, or as ``last``."""

import contextlib
import difflib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from adcli._changes import LOCK, inside, settle
from adcli._commands import quote
from adcli._files import check_reachable, is_folder, locate, named
from adcli._locking import Lock, open_regular
from adcli._system import is_reserved
from adcli.errors import AdcliError, OptionError, RunError, one_line
from adcli.runs.removing import call_off, finish_removals, is_being_removed
from adcli.runs.run import PARTIAL, RUN_FILE, Run

_FINISHED = re.compile(rb"^  finished: '?([0-9T:.Z-]+)'?\r?$", re.MULTILINE)
_TIMING = re.compile(rb"^    (\w+)_seconds: ([0-9.]+)\r?$", re.MULTILINE)
_TAIL = 1 << 16
"""Bytes at the end of ``run.yaml`` in which the time is looked for: parsing hundreds of files would take seconds."""

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"

_LONGEST = 100
"""Bytes of a name: on Windows, all of a path has room for 260."""

NEAREST = 5
"""Names that are suggested, at most."""


def runs_folder() -> Path:
    """Return where runs without ``--out`` go: ``ADCLI_RUNS``, else ``runs`` in the current folder."""
    return Path(os.environ.get("ADCLI_RUNS") or "runs")


def new_run_path(model: str, data: str) -> Path:
    """Return a new run's folder, such as ``runs/20261123-141502-patchcore-bottle``."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", data)[:100].strip("-.") or "data"
    moment = time.time()
    while True:
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(moment))}-{model.rpartition('/')[2]}-{slug}"
        path = runs_folder() / name
        if not os.path.lexists(path) and not os.path.lexists(path.parent / PARTIAL / name):
            return path
        moment += 1


LAST = "last"
"""Stands for the run that was finished last, so that no run is called so: a folder of that name is ``./last``."""


def check_run_name(name: str, option: str) -> str:
    """Return the name of a run; raises as :func:`check_name`, and if it stands for whichever run is the last one."""
    if name.casefold() == LAST:
        raise OptionError(f"is '{name}', which stands for the run finished last; choose another name.", option=option)
    return check_name(name, option)


def check_name(name: str, option: str) -> str:
    """Return a name of a run or of a part of it, after making sure that it is one, on every system.

    Raises:
        OptionError: it is none; the message is about ``option``.
    """
    problem = _find_fault(name)
    if problem:
        raise OptionError(f"must be the plain name of a folder, and '{one_line(name)[:60]}' {problem}.", option=option)
    return name


def _find_fault(name: str) -> str:
    """Return what is wrong with a name, or nothing."""
    if not name or name != name.strip():
        return "is empty, or begins or ends with a space"
    if name.startswith((".", "-")) or name.endswith("."):
        return "begins with '.' or '-', or ends with '.'"
    if not name.isprintable() or any(letter in '/\\:*?"<>|' for letter in name):
        return "has a character that a name cannot have"
    if len(os.fsencode(name)) > _LONGEST:
        return f"has more than {_LONGEST} bytes"
    if is_reserved(name):
        return "has another meaning on Windows"
    return ""


def finishing_time(folder: Path) -> str:
    """Return the time as ``run.yaml`` has it in ``finished``: UTC, with microseconds, so that it sorts as a text.

    It is later than that of each run in the folder of runs, whatever became of the clock since.
    """
    moment = datetime.now(UTC)
    # Where runs may be written and not listed, no other is known.
    before_it: list[tuple[str, Path]] = []
    with contextlib.suppress(RunError):
        before_it = _finished_runs(folder)
    for finished, _ in before_it:
        with contextlib.suppress(ValueError, OverflowError):
            before = datetime.strptime(finished, _TIME).replace(tzinfo=UTC)
            moment = max(moment, before + timedelta(microseconds=1))
    return moment.strftime(_TIME)


def read_finished(path: Path) -> str:
    """Return when a run was finished, from its ``run.yaml``, without verifying that; nothing if it does not say."""
    found = _FINISHED.findall(_read_tail(path))
    return found[-1].decode() if found else ""


def read_timings(path: Path) -> dict[str, float]:
    """Return the seconds that parts of a training took, such as ``fit``, as :func:`read_finished` does."""
    return {name.decode(): float(seconds) for name, seconds in _TIMING.findall(_read_tail(path))}


def _read_tail(path: Path) -> bytes:
    try:
        with os.fdopen(open_regular(inside(path, RUN_FILE), os.O_RDONLY), "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _TAIL, 0))
            return file.read(_TAIL)
    except (OSError, RunError):
        return b""


@dataclass(frozen=True)
class Listed:
    """A line of ``adcli runs``.

    Attributes:
        path: the folder.
        state: ``finished``; ``training``, by a process that is at work; ``interrupted``; or ``damaged``.
        run: the run if it is finished.
        problem: what is wrong with it, or who is at work on it.
        finished: when, in UTC; empty if that is not known.
    """

    path: Path
    state: Literal["finished", "training", "interrupted", "damaged"]
    run: Run | None = None
    problem: str = ""
    finished: str = ""


def list_runs(folder: Path) -> Iterator[Listed]:
    """Yield the runs in a folder by the time they were finished, and at the end those that are not."""
    finish_removals(folder)
    for finished, path in _finished_runs(folder):
        try:
            yield Listed(path, "finished", _open_settled(path), finished=finished)
        except AdcliError as error:
            yield Listed(path, "damaged", problem=error.format_message(), finished=finished)
    for path in _run_folders(folder / PARTIAL):
        holder = Lock(path / LOCK, path).find_holder()
        yield Listed(path, "training" if holder else "interrupted", problem=holder)


def _open_settled(path: Path) -> Run:
    """Open a run, after finishing or removing what a killed command left in it, unless another is at work there."""
    if not Lock(path / LOCK, path).find_holder():
        settle_run(path)
    return Run.open(path)


def settle_run(path: Path) -> None:
    """Finish, undo or remove what killed commands left in a run; raises as :func:`adcli._changes.settle`."""
    call_off(path)
    settle(path)


def _finished_runs(folder: Path) -> list[tuple[str, Path]]:
    """Return the runs in a folder with the time that each was finished, the last at the end."""
    return sorted((read_finished(path), path) for path in _run_folders(folder))


def _run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs in a folder by name, whatever state they are in."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
        return sorted(filter(_is_run, found))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{folder}: cannot be read ({error.strerror}).") from None


def _ignore(line: str) -> None:
    pass


def find_folder(reference: str, note: Callable[[str], object] = _ignore) -> Path:
    """Return the folder that a path, a name under the runs' folder, the beginning of one, or ``last`` stands for.

    A path into a run can begin in each of these ways, as in ``last/exports/openvino``.

    Args:
        reference: what was given.
        note: is told which run it stands for, unless that is what it says.

    Raises:
        RunError: there is no such folder, or several names begin so.
    """
    first, _, rest = reference.partition("/")
    for path in (Path(reference), runs_folder() / reference):
        if reference and first != LAST and _is_folder(path):
            return named(path)
    if first == LAST:
        run, words = _find_last()
    else:
        _check_not_interrupted(reference)
        run = _find_by_beginning(first or reference, runs_folder(), f"no run '{one_line(reference)}'")
        words = f"'{first}' is {run}"
    if not is_folder(run / rest):
        raise RunError(f"{run / rest}: no such folder.")
    note(words)
    return named(run / rest)


def _check_not_interrupted(reference: str) -> None:
    """Make sure that no run has the name which is not finished; raises :class:`RunError` that says how to go on."""
    given = Path(reference)
    for path in (given.parent / PARTIAL / given.name, runs_folder() / PARTIAL / reference):
        if given.name and _is_run(path):
            command = quote("adcli", "train", "--resume", reference)
            raise RunError(f"{path}: the run is not finished; continue it with: {command}")


def _is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; raises :class:`RunError` if the system refuses to say so."""
    check_reachable(path, RunError)
    return is_folder(path)


def _is_run(path: Path) -> bool:
    return os.path.isfile(path / RUN_FILE)  # noqa: PTH113 - Path.is_file raises an error if a name is too long


def _find_last() -> tuple[Path, str]:
    """Return the run that was finished last and can be opened, and what to say of it."""
    folder, passed_over = runs_folder(), []
    for _, path in reversed(_finished_runs(folder)):
        try:
            _open_settled(path)
        except AdcliError:
            passed_over.append(path.name)
        else:
            newer = f" ({_enumerate(passed_over)} cannot be opened)" if passed_over else ""
            return path, f"'last' is {path}{newer}"
    unfinished = [path.name for path in _run_folders(folder / PARTIAL)]
    there = [
        *([f"{_enumerate(passed_over)} cannot be opened"] if passed_over else []),
        *([f"{_enumerate(unfinished)} not finished"] if unfinished else []),
    ]
    what = f" ({'; '.join(there)}: see 'adcli runs')" if there else ""
    raise RunError(f"no finished run in {folder}{what}; make one with 'adcli train', or give a run's path.")


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - NEAREST} more" if len(names) > NEAREST else ""
    return ", ".join(map(one_line, names[:NEAREST])) + more


def _find_by_beginning(start: str, folder: Path, otherwise: str) -> Path:
    """Return the only run in a folder whose name begins so; raises :class:`RunError` with a message otherwise."""
    names = [path.name for path in _run_folders(folder)]
    found = [name for name in names if start and name.startswith(start)]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise RunError(
            f"'{one_line(start)}': {len(found)} runs in {folder} begin so: {_enumerate(found)}; give more of the name."
        )
    raise RunError(f"{otherwise}.{_suggest(start, names)}")


def _suggest(given: str, names: Sequence[str]) -> str:
    """Return the names that are most like what was given, for a message."""
    name = Path(given).name
    nearest = difflib.get_close_matches(name, names, n=NEAREST, cutoff=0.5)
    # Names begin with a time: whoever types the rest has most of it right.
    nearest += [known for known in names if name and name in known and known not in nearest]
    if nearest:
        return f" Did you mean {' or '.join(repr(one_line(known)) for known in nearest[:NEAREST])}?"
    return " See 'adcli runs' for those there are, or give a path."


def find_interrupted(reference: str, note: Callable[[str], object] = _ignore) -> Path:
    """Return the folder of the interrupted run that a path, a name or the beginning of one stands for.

    Raises:
        RunError: there is no such run, or it is finished.
    """
    given = Path(reference)
    for path in (given, given.parent / PARTIAL / given.name, runs_folder() / PARTIAL / reference):
        if reference and _is_folder(path) and PARTIAL in (path.parent.name, locate(path).parent.name):
            return path
    for path in (given, runs_folder() / reference):
        check_reachable(path / RUN_FILE, RunError)
        if _is_run(path):
            raise RunError(f"{path}: this run is finished; there is nothing to resume.")
    missing = f"no interrupted run '{one_line(reference)}'"
    found = _find_by_beginning(given.name, runs_folder() / PARTIAL, missing)
    note(f"'{reference}' is {found}")
    return found


def find_any(reference: str, note: Callable[[str], object] = _ignore) -> Path:
    """Return the folder of a run in whatever state, by path or whole name; ``last`` is the run finished last.

    The path stays right whatever is removed or renamed: it is absolute, and nothing in it is ``..``.

    Args:
        reference: what was given.
        note: is told which run ``last`` stands for.

    Raises:
        RunError: there is no such run.
    """
    given = Path(reference)
    if reference == LAST:
        run, words = _find_last()
        note(words)
        return locate(run)
    folder = runs_folder()
    for path in (given, folder / reference, given.parent / PARTIAL / given.name, folder / PARTIAL / reference):
        check_reachable(path / RUN_FILE, RunError)
        if reference and (_is_run(path) or is_being_removed(path)):
            return locate(path)
    finish_removals(folder)
    names = [path.name for path in [*_run_folders(folder), *_run_folders(folder / PARTIAL)]]
    raise RunError(f"no run '{one_line(reference)}'.{_suggest(reference, names)}")
