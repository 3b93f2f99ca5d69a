"""The skeletons that ``adcli plugin new`` fills: one folder for each kind of plugin, and what all kinds share.

``NAME`` in a path stands for the plugin's name, ``PACKAGE`` for its import name. Files that end in ``.jinja`` are
filled, others copied.
"""

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from adcli._plugins.registry import registry
from adcli.errors import OptionError, StorageError

TEMPLATES = Path(__file__).parent
SHARED = TEMPLATES / "shared"
_SUFFIX = ".jinja"


@dataclass(frozen=True)
class PluginNames:
    """What a plugin is called in all places.

    Attributes:
        name: what users type, such as ``my_model``.
    """

    name: str

    @classmethod
    def parse(cls, text: str) -> "PluginNames":
        """Return the names for ``my-model`` or ``my_model``.

        Raises:
            OptionError: it cannot be a name, or an installed plugin has it.
        """
        if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", text):
            raise OptionError(
                f"name '{text}': give lower-case letters, digits and single underscores, such as my_model."
            )
        names = cls(text.replace("-", "_"))
        plugins = registry()
        for plugin in plugins.plugins:
            taken = {plugin.name, plugin.distribution, *(spec.name.rstrip(":") for spec in plugin.specs)}
            if taken & {names.name, names.distribution}:
                raise OptionError(f"name '{text}': {plugin} is installed and has it; choose another.")
        if find_spec(names.package) is not None:
            raise OptionError(f"name '{text}': a package '{names.package}' is installed; choose another.")
        return names

    @property
    def distribution(self) -> str:
        """What is installed, such as ``adcli-my-model``."""
        return f"adcli-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """What is imported, such as ``adcli_my_model``."""
        return f"adcli_{self.name}"

    @property
    def camel(self) -> str:
        """What its classes begin with, such as ``MyModel``."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    def place(self, path: Path) -> Path:
        """Return where a file of a template goes, relative to the package's folder."""
        text = path.as_posix().removesuffix(_SUFFIX)
        return Path(text.replace("PACKAGE", self.package).replace("NAME", self.name))


def write_package(names: PluginNames, kind: str, folder: Path) -> list[Path]:
    """Write a package into a new or empty folder, completely or not at all, and return its files.

    Raises:
        OptionError: the folder exists and is not empty.
        StorageError: it cannot be written.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OptionError(f"{folder}: exists{'' if folder.is_file() else ' and is not empty'}; choose another --out.")
    files = fill(names, kind)
    # On the same file system, so that renaming is all that is left to do.
    place = folder if folder.is_dir() else folder.parent
    temporary = place / f".{names.distribution}-{uuid.uuid4().hex[:8]}"
    try:
        for path, content in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        _move(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; choose another --out.") from None
    return [folder / path for path in files]


def _move(temporary: Path, folder: Path) -> None:
    if not folder.is_dir():
        temporary.rename(folder)
        return
    for path in list(temporary.iterdir()):
        path.rename(folder / path.name)
    temporary.rmdir()


def fill(names: PluginNames, kind: str) -> Mapping[Path, bytes]:
    """Return the content of every file of a package by its path."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    files = {}
    for root, path in _sources(kind):
        content = path.read_bytes()
        if path.suffix == _SUFFIX:
            text = content.decode()
            _refuse_clash(names, text)
            content = environment.from_string(text).render(names=names, kind=kind).encode()
        files[names.place(path.relative_to(root))] = content
    return files


def _sources(kind: str) -> Iterator[tuple[Path, Path]]:
    for root in (SHARED, TEMPLATES / kind):
        yield from ((root, path) for path in sorted(root.rglob("*")) if path.is_file())


def _refuse_clash(names: PluginNames, text: str) -> None:
    """Refuse names whose class would hide a class that the template imports, or a constant of Python."""
    if names.camel in ("None", "True", "False") or re.search(rf"\b{names.camel}\b", text):
        raise OptionError(f"name '{names.name}': the template uses '{names.camel}' for something else; choose another.")
