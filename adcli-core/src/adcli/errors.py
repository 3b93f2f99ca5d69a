"""Errors that a user can cause: one line that names the file or option and says what to do, with an exit code each."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator

import click

from adcli._commands import install_command


class AdcliError(click.ClickException):
    """Something the user can put right; the command line prints it as one line, without a traceback."""

    exit_code = 1


class OptionError(AdcliError):
    """An option, a name or a value on the command line or in a config file is wrong.

    Args:
        message: a sentence, without its subject if ``option`` is given: ``"must be an integer, not 'x'."``.
        option: what the sentence is about: a field's name, which the command line replaces by the flag as typed.
    """

    exit_code = 2

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option

    def format_message(self) -> str:
        """Return the whole sentence."""
        return f"{self.option} {self.message}" if self.option else self.message

    def __str__(self) -> str:
        return self.format_message()


class DataError(AdcliError):
    """A data set, a folder or an image cannot be used.

    Args:
        message: what is wrong.
        remedy: what to do about it, a sentence; left out where that has been done already.
    """

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def format_message(self) -> str:
        """Return both sentences."""
        return f"{self.message} {self.remedy}".rstrip()

    def __str__(self) -> str:
        return self.format_message()


class MissingCategoryError(DataError):
    """A category of a data set is missing; if all categories are asked for, it is left out."""


class RunError(AdcliError):
    """A run folder cannot be found, read or trusted."""

    exit_code = 5


class PluginError(AdcliError):
    """A plugin is missing, broken or in conflict with another."""

    exit_code = 6


class BackboneError(AdcliError):
    """A backbone or its weights are not available."""

    exit_code = 7


class TrainingError(AdcliError):
    """Training did not reach a usable model."""

    exit_code = 8


class StorageError(AdcliError):
    """Something could not be written."""

    exit_code = 9


class ExportError(AdcliError):
    """An exported folder cannot be trusted, or differs too much from the run it was made from."""

    exit_code = 10


class LackOfMemoryError(AdcliError):
    """The memory of the machine, of a GPU, or what a limit leaves of it, does not suffice."""

    exit_code = 11

    def __init__(self, what: str = "not enough memory", *, remedy: str = "") -> None:
        remedy = remedy or "lower --batch-size, --workers, --cache or --image-size, or see 'adcli models show NAME'"
        super().__init__(f"{what}; {remedy}.")


class TooManyFilesError(AdcliError):
    """The system lets the process open no more files."""

    exit_code = LackOfMemoryError.exit_code

    def __init__(self) -> None:
        super().__init__("too many open files; raise the limit (ulimit -n), or lower --workers.")


DEFECT_FOUND = 3
"""Exit code of ``adcli predict --fail-on-defect`` when a defect was found, and of ``adcli drift --fail-on-drift``."""

DIFFERENCE_FOUND = 3
"""Exit code of ``adcli verify`` when a verdict changed or scores moved: what it looked for was found, as above."""


_NO_RIGHT = "look at its rights, and at those of the folders on the way"
_REFUSALS = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "choose a place where you may write",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "replace the link by what it stands for",
    errno.EIO: "its disk or network may be damaged",
    errno.ENOSPC: "free space, or choose another place",
    errno.EFBIG: "choose a place that takes files of that size",
}


def refusal(error: BaseException) -> StorageError | None:
    """Return what to say if the system refused a file that an error names; None if it is another error."""
    name = error.filename if isinstance(error, OSError) else None
    if not isinstance(name, str | bytes | os.PathLike) or getattr(error, "errno", None) not in _REFUSALS:
        return None
    assert isinstance(error, OSError)
    reason = error.strerror or type(error).__name__
    return StorageError(f"{one_line(os.fsdecode(name))}: {reason}; {_REFUSALS[error.errno or 0]}.")


def printable(text: str) -> str:
    """Return a text without line breaks and control characters, which would command a terminal or forge a line."""
    if text.isprintable():
        return text
    return "".join(map(_show, text))


def _show(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else f"\\x{ord(letter):02x}" if letter < "\u0100" else f"\\u{ord(letter):04x}"


_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "failed to map segment",
    "can't start new thread",
)
"""How torch, OpenVINO, the loader of libraries and Python say that there is no memory, if not by a type of error."""


NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""What a system answers if so many files are open that no more can be, which says nothing of the file asked for."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or what it was raised for, is that there is no memory left."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    library = isinstance(error, (RuntimeError, ImportError, OSError))
    if library and any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return True
    # Whoever says that a file cannot be used was not asked why.
    return error.__context__ is not None and is_out_of_memory(error.__context__)


def one_line(text: object) -> str:
    """Return a text, or an error's type and message, as one line of at most 300 characters."""
    if isinstance(text, AdcliError):
        text = text.format_message()
    elif isinstance(text, BaseException):
        text = f"{type(text).__name__}: {text}"
    line = " ".join(printable(str(text)).split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def place(error: BaseException, package: str) -> str:
    """Return where in a package an error was raised, as ``", package/module.py:12"``; empty if it was not."""
    import traceback
    from pathlib import PurePath

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        *folders, file = PurePath(frame.filename).parts
        if package in folders or file == f"{package}.py":
            inner = folders[folders.index(package) :] if package in folders else []
            return f", {'/'.join([*inner, file])}:{frame.lineno}"
    return ""


def locate(error: BaseException, *packages: str) -> str:
    """Return an error as one line with the place in one of some packages; of a wrong syntax also the line itself."""
    if isinstance(error, SyntaxError) and error.filename:
        text = f": {error.text.strip()}" if error.text else ""
        return one_line(f"{type(error).__name__}: {error.msg}, {error.filename}:{error.lineno}{text}")
    return one_line(error) + next(filter(None, (place(error, package) for package in packages)), "")


_AT_A_GLANCE, _FEW = 20, 3


def suggest(name: str, known: Iterable[str], *, listed: bool = True) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, else a list of what there is, if wanted.

    Of more than can be read at a glance, it has the nearest.
    """
    import difflib

    # A name in a file may be anything.
    name, names = str(name), sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        by_letters = {known.casefold(): known for known in names}
        close = [by_letters[letters] for letters in difflib.get_close_matches(name.casefold(), by_letters, n=1)]
    if close:
        return f" Did you mean '{close[0]}'?"
    if not names or not listed:
        return ""
    if len(names) <= _AT_A_GLANCE:
        return f" Known: {', '.join(names)}."
    nearest = difflib.get_close_matches(name, names, n=_FEW, cutoff=0)
    return f" Nearest: {', '.join(nearest)}; there are {len(names) - len(nearest)} more."


@contextlib.contextmanager
def needing_torch() -> Iterator[None]:
    """Turn the lack of a package that computing needs into one line that says what to install.

    Raises:
        PluginError: the core is installed without its extra ``torch``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("adcli"):
            raise
        command = install_command("adcli-core[torch]")
        raise PluginError(f"this needs the package '{error.name}': {command}") from None
