"""Standard streams that whoever started the process had closed."""

import os


def open_missing_streams() -> None:
    """Open nothing in the place of each closed stream; else a file would get its number, and a library's messages."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The system gives the lowest number that is free.
            os.open(os.devnull, os.O_RDWR)
