"""From installed distributions to specs by name: who provides what, what failed, which names clash."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

import pluggy

from adcli import hookspecs
from adcli.errors import AdcliError, OptionError, PluginError, suggest
from adcli.specs import BackboneSpec, DatasetSpec, ExporterSpec, ModelSpec, Spec, load_target

GROUP = "adcli"
CORE = "adcli-core"

SpecT = TypeVar("SpecT", bound=Spec, covariant=True)

_SPEC_HOOKS: dict[str, type[Spec]] = {
    "adcli_models": ModelSpec,
    "adcli_datasets": DatasetSpec,
    "adcli_backbones": BackboneSpec,
    "adcli_exporters": ExporterSpec,
}


@dataclass
class Plugin:
    """One entry point: where it comes from, what it offers, and why it failed if it did."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    specs: list[Spec] = field(default_factory=list)
    load_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Provided(Generic[SpecT]):
    """A spec and the plugin that offers it."""

    spec: SpecT
    plugin: Plugin

    def load(self, target: str) -> Any:
        """Import what a target of the spec names; raises :class:`PluginError` naming the plugin if that fails."""
        try:
            return load_target(target)
        except AdcliError:
            raise
        except Exception as error:
            raise PluginError(
                f"'{self.spec.name}' of {self.plugin}: {target} cannot be loaded ({_reason(error)})."
            ) from error


class Names(Generic[SpecT]):
    """The specs of one kind by name; a name that two plugins offer needs ``provider/name``."""

    def __init__(self, kind: str, offered: list[Provided[SpecT]], failed: list[Plugin]) -> None:
        self.kind = kind
        self.offered = offered
        self._failed = failed

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({provided.spec.name for provided in self.offered}))

    def get(self, name: str) -> Provided[SpecT] | None:
        """Return what a name or ``provider/name`` stands for, or None; a clash raises :class:`PluginError`."""
        provider, _, bare = name.rpartition("/")
        found = [
            provided
            for provided in self.offered
            if provided.spec.name == bare and provider in ("", provided.plugin.name, provided.plugin.distribution)
        ]
        if len(found) > 1:
            providers = " and ".join(str(provided.plugin) for provided in found)
            raise PluginError(
                f"{self.kind} '{name}' is offered by {providers}; say which, as in "
                f"'{found[0].plugin.distribution}/{bare}', or disable one with ADCLI_DISABLE={found[1].plugin.name}."
            )
        return found[0] if found else None

    def __getitem__(self, name: str) -> Provided[SpecT]:
        found = self.get(name)
        if found is not None:
            return found
        broken = "".join(f" ({plugin} failed to load: see 'adcli plugins')" for plugin in self._failed)
        raise OptionError(f"unknown {self.kind} '{name}'.{suggest(name, self)}{broken}")

    def that_made(self, name: str, made_by: Mapping[str, str], what: object) -> Provided[SpecT]:
        """Return the spec that something stored was made with, refusing another or an incompatible version of it.

        Args:
            name: the spec's name.
            made_by: ``distribution`` and ``version`` of the plugin, as they were recorded.
            what: the run or export, for the message.

        Raises:
            PluginError: the plugin is missing, failed to load, or is of a version that cannot read what is stored.
        """
        from packaging.version import Version

        named = f"{made_by['distribution']} {made_by['version']}"
        provided = self.get(f"{made_by['distribution']}/{name}")
        if provided is None:
            raise PluginError(f"{what}: was made with {named}, which is not installed or failed to load; install it.")
        then, now = Version(made_by["version"]), Version(provided.plugin.version)
        # Before 1.0, a change of the minor version may change what is stored.
        if then.release[: 1 if then.major else 2] != now.release[: 1 if then.major else 2] or now < then:
            raise PluginError(f"{what}: was made with {named}; {provided.plugin} cannot read it, install {named}.")
        return provided


class Registry:
    """Everything the installed plugins offer."""

    def __init__(self, plugins: list[Plugin], manager: pluggy.PluginManager) -> None:
        self.plugins = plugins
        self.manager = manager
        self.failed = [plugin for plugin in plugins if plugin.error]
        self.models: Names[ModelSpec] = self._names("model", ModelSpec)
        self.datasets: Names[DatasetSpec] = self._names("data set", DatasetSpec)
        self.backbones: Names[BackboneSpec] = self._names("backbone", BackboneSpec)
        self.exporters: Names[ExporterSpec] = self._names("exporter", ExporterSpec)

    def _names(self, kind: str, spec_type: type[SpecT]) -> Names[SpecT]:
        offered = [
            Provided(spec, plugin)
            for plugin in self.plugins
            if not plugin.error
            for spec in plugin.specs
            if isinstance(spec, spec_type)
        ]
        return Names(kind, offered, self.failed)

    def call_each(self, hook: str, **arguments: Any) -> None:
        """Call a hook's implementations one by one; one that raises is marked as failed and disturbs no other."""
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            plugin = next(plugin for plugin in self.plugins if plugin.name == implementation.plugin_name)
            try:
                implementation.function(*[arguments[name] for name in implementation.argnames])
            except Exception as error:
                plugin.error = f"{hook} raised {_reason(error)}"
                self.failed.append(plugin)


@cache
def registry() -> Registry:
    """Return the registry of this process, loading the plugins on first use."""
    return load()


def load() -> Registry:
    """Load every plugin that ``ADCLI_DISABLE`` (names of plugins or distributions, commas between) leaves on."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    plugins = [_builtin(manager)]
    disabled = {name.strip() for name in os.environ.get("ADCLI_DISABLE", "").split(",")}
    for entry_point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        if not disabled & {entry_point.name, distribution}:
            plugins.append(_load_plugin(manager, entry_point, distribution))
    return Registry(plugins, manager)


def _builtin(manager: pluggy.PluginManager) -> Plugin:
    from adcli import __version__, builtin

    plugin = Plugin("core", CORE, __version__)
    _register(manager, plugin, lambda: builtin)
    return plugin


def _load_plugin(manager: pluggy.PluginManager, entry_point: EntryPoint, distribution: str) -> Plugin:
    plugin = Plugin(entry_point.name, distribution, entry_point.dist.version if entry_point.dist else "?")
    if manager.has_plugin(plugin.name):
        plugin.error = f"another distribution has an entry point '{plugin.name}'; uninstall or disable one"
        plugin.name = f"{distribution}/{plugin.name}"
        return plugin
    _register(manager, plugin, entry_point.load)
    if plugin.error:
        plugin.error += _version_conflict(entry_point)
    return plugin


def _register(manager: pluggy.PluginManager, plugin: Plugin, load_module: Callable[[], ModuleType]) -> None:
    """Register a plugin's module and collect its specs; on any failure nothing of it stays registered."""
    start = time.perf_counter()
    try:
        module = load_module()
        _check_hooks(manager, module)
        manager.register(module, plugin.name)
        plugin.specs = list(_specs(manager, plugin.name))
    except Exception as error:
        plugin.error = _reason(error)
        plugin.specs = []
        # pluggy keeps the hooks it registered before the failing one.
        if manager.has_plugin(plugin.name):
            manager.unregister(name=plugin.name)
    plugin.load_seconds = time.perf_counter() - start


def _check_hooks(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Refuse hooks we do not know, and wrappers, which would see every other plugin's results."""
    known = [name for name in vars(hookspecs) if name.startswith("adcli_")]
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            continue
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"hook wrappers such as '{name}' are not supported")
        if name not in known and not options.get("optionalhook"):
            raise PluginError(f"unknown hook '{name}'.{suggest(name, known)}")


def _specs(manager: pluggy.PluginManager, plugin_name: str) -> Iterator[Spec]:
    for hook, spec_type in _SPEC_HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name != plugin_name:
                continue
            for spec in implementation.function():
                if not isinstance(spec, spec_type):
                    raise PluginError(f"{hook} returned {spec!r} where a {spec_type.__name__} belongs")
                yield spec


def _reason(error: BaseException) -> str:
    text = error.format_message() if isinstance(error, AdcliError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _version_conflict(entry_point: EntryPoint) -> str:
    """Say which of the two to upgrade, where a failed plugin asks for another core than the installed one."""
    from packaging.requirements import InvalidRequirement, Requirement

    from adcli import __version__

    for text in (entry_point.dist.requires if entry_point.dist else None) or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name == CORE and not requirement.specifier.contains(__version__, prereleases=True):
            return f"; it needs {CORE}{requirement.specifier}, installed is {__version__}: upgrade one of the two"
    return ""
