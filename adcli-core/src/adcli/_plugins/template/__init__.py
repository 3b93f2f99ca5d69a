"""The packages that ``adcli plugin new`` writes: one folder per kind of plugin, and one with what the kinds share.

In a path, ``NAME`` stands for the plugin's name and ``PACKAGE`` for its import name. Files that end in ``.jinja`` are
filled in, others are copied.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from adcli._changes import changing, clean_beside, making, settle
from adcli._files import storing
from adcli._plugins.registry import registry
from adcli.errors import OptionError

TEMPLATES = Path(__file__).parent
KINDS = ("model", "dataset", "executor", "command")
"""Kinds of plugins with a template; the pages of the others have a complete example."""

_SUFFIX = ".jinja"


@dataclass(frozen=True)
class PluginNames:
    """The names of one plugin.

    Attributes:
        name: what users type, for example ``my_model``.
    """

    name: str

    @classmethod
    def parse(cls, text: str) -> "PluginNames":
        """Return the names for ``my-model`` or ``my_model``.

        Raises:
            OptionError: the text cannot be a name, or an installed plugin has that name.
        """
        if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", text):
            raise OptionError(
                f"name '{text}': use lower-case letters, digits and single underscores, for example my_model."
            )
        names = cls(text.replace("-", "_"))
        for plugin in registry().plugins:
            taken = {plugin.name, plugin.distribution, *(spec.name.rstrip(":") for spec in plugin.specs)}
            if taken & {names.name, names.distribution}:
                raise OptionError(f"name '{text}': the installed {plugin} uses it; choose another.")
        if find_spec(names.package) is not None:
            raise OptionError(f"name '{text}': a package '{names.package}' is installed; choose another.")
        return names

    @property
    def distribution(self) -> str:
        """What is installed, for example ``adcli-my-model``."""
        return f"adcli-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """What is imported, for example ``adcli_my_model``."""
        return f"adcli_{self.name}"

    @property
    def camel(self) -> str:
        """What its class names begin with, for example ``MyModel``."""
        return "".join(word.capitalize() for word in self.name.split("_"))


def write_package(names: PluginNames, kind: str, folder: Path) -> list[Path]:
    """Write a package into a new or empty folder, completely or not at all, and return its files.

    Raises:
        OptionError: the kind has no template, or the folder exists and is not empty.
        StorageError: the folder cannot be written.
    """
    if kind not in KINDS:
        raise OptionError(
            f"--kind {kind}: 'adcli plugin new' writes models, data sets, executors and commands; for {kind}s, start "
            f"from the complete example in docs/plugins/adcli_{kind}s.md."
        )
    clean_beside(folder)
    if folder.is_dir():
        settle(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise OptionError(f"{folder}: exists{'' if folder.is_file() else ' and is not empty'}; choose another --out.")
    files = fill(names, kind)
    # A folder that is there is perhaps the one that the user is in, and is not replaced.
    with changing(folder, names.distribution) if folder.is_dir() else making(folder) as place, storing(folder):
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
    return [folder / path for path in files]


def fill(names: PluginNames, kind: str) -> Mapping[Path, bytes]:
    """Return the content of each file of a package, by its path relative to the package's folder."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    files = {}
    for root in (TEMPLATES / "shared", TEMPLATES / kind):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.suffix == _SUFFIX:
                text = content.decode()
                _refuse_clash(names, text)
                content = environment.from_string(text).render(names=names, kind=kind).encode()
            target = path.relative_to(root).as_posix().removesuffix(_SUFFIX)
            files[Path(target.replace("PACKAGE", names.package).replace("NAME", names.name))] = content
    return files


def _refuse_clash(names: PluginNames, text: str) -> None:
    """Refuse a name whose class would hide a class that the template imports, or a constant of Python."""
    if names.camel in ("None", "True", "False") or re.search(rf"\b{names.camel}\b", text):
        raise OptionError(f"name '{names.name}': the template already uses '{names.camel}'; choose another.")
