"""What most likely puts a plugin right that failed. Only imported after a failure."""

import json
import platform
import shlex
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from urllib.parse import unquote, urlparse

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from adcli import __version__
from adcli.errors import AdcliError

CORE = "adcli-core"

PACKAGES = {
    "model": {
        name: f"adcli-{name.replace('_', '-')}"
        for name in ("cflow", "dfkde", "dfm", "ganomaly", "padim", "patchcore", "reverse_distillation", "stfpm")
    },
    "data set": dict.fromkeys(
        (
            "btad",
            "dagm",
            "kolektor_sdd",
            "kolektor_sdd2",
            "magnetic_tile",
            "mpdd",
            "mvtec_ad",
            "mvtec_ad_2",
            "mvtec_loco",
            "real_iad",
            "visa",
        ),
        "adcli-datasets",
    ),
    "backbone": {"embedded": "adcli-embedded"},
    "exporter": {"onnx": "adcli-onnx", "openvino": "adcli-openvino"},
}
"""What the packages of this repository offer, by kind and name."""


def package_to_install(kind: str, name: str) -> str:
    """Return the package of this repository that offers a name, where it is not installed, else nothing."""
    package = PACKAGES.get(kind, {}).get(name, "")
    return package if package and _find(package) is None else ""


def conflict_with_core(name: str) -> str:
    """Return what a distribution asks of the core, where that is another than the installed one, else nothing."""
    requirement = _conflicting(_find(name))
    return f"it needs {CORE}{requirement.specifier}, installed is {__version__}" if requirement else ""


def remedy(error: BaseException, plugin: str, name: str) -> str:
    """Return what to do about an error in a plugin, one line; ``name`` is its distribution."""
    return f"{_cure(error, name)}; or leave it out with ADCLI_DISABLE={plugin}"


def _cure(error: BaseException, name: str) -> str:
    found = _find(name)
    if found is None:
        return "install it again"
    requirement = _conflicting(found)
    if requirement is not None:
        return _upgrade_one(requirement, name)
    if isinstance(error, ModuleNotFoundError):
        return _have_module(found, name, error.name or "")
    if isinstance(error, SyntaxError):
        return _reinstall_or_python(found, name)
    if isinstance(error, ImportError):
        return f"upgrade it, or what it imports from: pip install --upgrade --upgrade-strategy eager {name}"
    whose = "" if isinstance(error, AdcliError) else "a fault of the plugin: "
    source = _source(found)
    if source is not None:
        return f"{whose}mend it in {source}, from where it is installed"
    return f"{whose}upgrade it with 'pip install --upgrade {name}', or tell its author"


def _upgrade_one(requirement: Requirement, name: str) -> str:
    """Say which of the two is the older."""
    installed = Version(__version__)
    bounds = [part for part in requirement.specifier if not part.contains(installed, prereleases=True)]
    if any(part.operator in (">=", ">", "~=", "==") and _version(part.version) > installed for part in bounds):
        return f"upgrade the core with pip install --upgrade '{CORE}{requirement.specifier}'"
    return f"upgrade the plugin with pip install --upgrade {name}"


def _have_module(found: Distribution, name: str, module: str) -> str:
    top = module.partition(".")[0]
    if any(point.value.partition(":")[0].partition(".")[0] == top for point in found.entry_points):
        return f"some of its files are missing; install it again with {_install_command(found, name)}"
    if top == "adcli":
        return f"it was made for another version of {CORE}; upgrade the older of the two"
    missing = list(dict.fromkeys(_missing(found)))
    if missing:
        return f"install what it needs with pip install {shlex.join(missing)}"
    return f"install the package that has '{top}'; {name} uses it without asking for it, tell its author"


def _missing(found: Distribution) -> Iterator[str]:
    """Yield the requirements that are not installed, those that lack an extra included."""
    for requirement in _requirements(found, ""):
        installed = _find(requirement.name)
        extras = (part for extra in requirement.extras for part in _requirements(installed, extra))
        if installed is None or any(_find(part.name) is None for part in extras):
            requirement.marker = None
            yield str(requirement)


def _reinstall_or_python(found: Distribution, name: str) -> str:
    wanted = found.metadata["Requires-Python"]
    if wanted and not Requirement(f"python{wanted}").specifier.contains(platform.python_version(), prereleases=True):
        return f"it needs Python {wanted}, this is {platform.python_version()}"
    return f"its file is damaged, or for another Python; install it again with {_install_command(found, name)}"


def _source(found: Distribution) -> str | None:
    """Return the folder that a distribution is installed from so that changes there count; None for others."""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable")
    return unquote(urlparse(origin["url"]).path) if editable else None


def _install_command(found: Distribution, name: str) -> str:
    """Return how to install a distribution again, from where it came."""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    url = origin.get("url", "")
    source = shlex.quote(unquote(urlparse(url).path) if url.startswith("file:") else url or name)
    editable = "-e " if _source(found) else ""
    return f"pip install --force-reinstall --no-deps {editable}{source}"


def _conflicting(found: Distribution | None) -> Requirement | None:
    for requirement in _requirements(found, ""):
        if requirement.name == CORE and not requirement.specifier.contains(__version__, prereleases=True):
            return requirement
    return None


def _requirements(found: Distribution | None, extra: str) -> Iterator[Requirement]:
    for text in (found.requires if found else None) or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker.evaluate({"extra": extra}) if marker else not extra:
            yield requirement


def _version(text: str) -> Version:
    try:
        return Version(text.removesuffix(".*"))
    except InvalidVersion:
        return Version("0")


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None
