"""The one reader of files that hold values: what adcli wrote, which anybody may have changed, and what people write.

A text is bounded before it is parsed (:mod:`adcli._artefacts.parsing`). What it holds is compared with a declaration
(:mod:`adcli._artefacts.declaring`). Whatever is wrong ends in one line that names file and field.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from adcli._artefacts.declaring import compare
from adcli._artefacts.parsing import LARGEST_YAML, parse_json, parse_yaml
from adcli._files import DIGEST, read_state
from adcli.errors import AdcliError, one_line

T = TypeVar("T")


@dataclass(frozen=True)
class Artefact:
    """A file of values, and what is said if something is wrong with it.

    Attributes:
        path: of the file.
        error: what is raised.
        remedy: what to do, without a full stop; empty if whoever catches the error says it.
    """

    path: Path
    error: type[AdcliError]
    remedy: str = ""

    def wrong(self, what: object) -> AdcliError:
        """Return the error that says what is wrong, one line."""
        return self.error(f"{self.path}: {'; '.join(filter(None, [str(what), self.remedy]))}.")

    def text(self, largest: int) -> str:
        """Return the text of the file.

        Args:
            largest: bytes that it may have.

        Raises:
            FileNotFoundError: it is missing.
            AdcliError: it cannot be read, or is no text.
        """
        try:
            return read_state(self.path, largest)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.wrong(f"cannot be read ({error.strerror})") from None

    def parse(self, parse: Callable[[str], Any], text: str) -> Any:
        """Return what a text stands for, by :func:`parse_json` or :func:`parse_yaml`."""
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(f"cannot be read ({one_line(str(error))})") from None

    def check(self, content: Any, kind: type[T]) -> T:
        """Return what was parsed, after comparing it with a declaration; a number for one that is whole is a float."""
        try:
            return compare(content, kind)
        except ValueError as error:
            raise self.wrong(error) from None

    def check_digest(self, content: Any, besides: Collection[str] = ()) -> None:
        """Make sure that parsed JSON was not changed since it was written with its own digest.

        Args:
            content: what was parsed.
            besides: names of what the digest does not cover.
        """
        if isinstance(content, dict):
            covered = {name: value for name, value in content.items() if name not in ("digest", *besides)}
            if content.get("digest") != digest_of(covered):
                raise self._changed()

    def _changed(self) -> AdcliError:
        return self.error(f"{self.path}: was changed or damaged since it was written (its digest differs).")

    def unseal(self, text: str) -> dict[str, Any]:
        """Return the content of YAML that :func:`adcli._files.seal` wrote, if it was not changed since."""
        body, found, digest = text.rpartition(DIGEST)
        if not found or hashlib.sha256(body.encode()).hexdigest() != digest.rstrip("\n"):
            raise self._changed()
        content = self.parse(parse_yaml, body)
        if not isinstance(content, dict):
            raise self.wrong("holds no settings by name")
        return content


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 of plain values; nothing if they are nested too deeply, as no declaration has them."""
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except RecursionError:
        return ""


def load_json(file: Artefact, kind: type[T], largest: int = LARGEST_YAML) -> T:
    """Return what a JSON file holds, as declared; raises as :meth:`Artefact.text` and :meth:`Artefact.check`."""
    return file.check(file.parse(parse_json, file.text(largest)), kind)
