"""From installed distributions to specs by name: who provides what, what failed, which names clash."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import ModuleType
from typing import Any, Generic, TypeVar

import click
import pluggy

from adcli import hookspecs
from adcli._plugins.discovery import Candidate, canonical, discover
from adcli._plugins.tracing import traced
from adcli.errors import AdcliError, OptionError, PluginError, one_line, suggest
from adcli.specs import KINDS, BackboneSpec, DatasetSpec, ExporterSpec, ModelSpec, Spec, load_target, problem_with

CORE = "adcli-core"
DISABLE = "ADCLI_DISABLE"

T = TypeVar("T")
SpecT = TypeVar("SpecT", bound=Spec, covariant=True)

_SPEC_HOOKS: dict[str, type[Spec]] = {
    "adcli_models": ModelSpec,
    "adcli_datasets": DatasetSpec,
    "adcli_backbones": BackboneSpec,
    "adcli_exporters": ExporterSpec,
}


@dataclass
class Plugin:
    """One entry point: where it comes from, what it offers, and why it failed if it did.

    Attributes:
        name: the entry point's name.
        distribution, version: what was installed.
        error: why it failed, one line, or None. Where it could be loaded and a hook failed later, its specs stay.
        remedy: what most likely helps, where it failed.
        warning: what is wrong although it works.
        disabled: whether ``ADCLI_DISABLE`` leaves it out.
        specs: what it offers.
        commands: names of the commands it adds, once they were asked for.
        load_seconds: how long importing it and calling its hooks took.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None
    remedy: str = ""
    warning: str = ""
    disabled: bool = False
    specs: list[Spec] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    load_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def key(self) -> str:
        """What it is registered as; two distributions may give their entry points one name."""
        return f"{self.distribution}/{self.name}"

    def is_called(self, name: str) -> bool:
        """Return whether a name is its own or its distribution's, as PEP 503 compares them."""
        return canonical(name) in (canonical(self.name), canonical(self.distribution))

    def fail(self, what: str, error: BaseException) -> None:
        """Record an error, and what to do about it."""
        from adcli._plugins.remedies import conflict_with_core, remedy

        conflict = conflict_with_core(self.distribution)
        self.error = f"{what}{one_line(error)}" + (f"; {conflict}" if conflict else "")
        self.remedy = remedy(error, self.name, self.distribution)


@dataclass(frozen=True)
class Provided(Generic[SpecT]):
    """A spec and the plugin that offers it."""

    spec: SpecT
    plugin: Plugin

    def load(self, target: str) -> Any:
        """Import what a target of the spec names; raises :class:`PluginError` naming the plugin if that fails."""
        return self.guarded(
            f"{target} cannot be loaded", lambda: traced(f"loading {target}", self.plugin, lambda: load_target(target))
        )

    def guarded(self, failure: str, action: Callable[[], T]) -> T:
        """Run code of the plugin; what it prints goes to stderr, so that a JSON document on stdout stays one.

        Raises:
            PluginError: the code raised anything but an ``AdcliError``; the message names spec, plugin and ``failure``.
        """
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return action()
        except (AdcliError, KeyboardInterrupt):
            raise
        except BaseException as error:
            from adcli._plugins.remedies import remedy

            cure = remedy(error, self.plugin.name, self.plugin.distribution)
            raise PluginError(f"'{self.spec.name}' of {self.plugin}: {failure} ({one_line(error)}); {cure}.") from error


class Names(Generic[SpecT]):
    """The specs of one kind by name; a name that two plugins offer needs ``provider/name``."""

    def __init__(self, kind: str, offered: list[Provided[SpecT]], absent: list[Plugin]) -> None:
        self.kind = kind
        self.offered = offered
        self._absent = absent

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({provided.spec.name for provided in self.offered}))

    def get(self, name: str) -> Provided[SpecT] | None:
        """Return what a name or ``provider/name`` stands for, or None; a clash raises :class:`PluginError`.

        A provider is a distribution or, where none has that name, a plugin.
        """
        provider, _, bare = name.rpartition("/")
        found = [provided for provided in self.offered if provided.spec.name == bare]
        if provider:
            wanted = canonical(provider)
            of_distribution = [item for item in found if canonical(item.plugin.distribution) == wanted]
            found = of_distribution or [item for item in found if canonical(item.plugin.name) == wanted]
        if len(found) > 1:
            raise PluginError(self._clash(name, found))
        return found[0] if found else None

    def _clash(self, name: str, found: list[Provided[SpecT]]) -> str:
        distributions = [provided.plugin.distribution for provided in found]
        providers = [
            item.plugin.name if distributions.count(item.plugin.distribution) > 1 else item.plugin.distribution
            for item in found
        ]
        choices = " or ".join(f"'{provider}/{found[0].spec.name}'" for provider in providers)
        return (
            f"{self.kind} '{name}' is offered by {' and '.join(str(provided.plugin) for provided in found)}; "
            f"say which, {choices}, or leave one out with {DISABLE}={providers[-1]}."
        )

    def __getitem__(self, name: str) -> Provided[SpecT]:
        found = self.get(name)
        if found is None:
            raise OptionError(self.unknown(name))
        return found

    def unknown(self, name: str, typed: str = "") -> str:
        """Return the message for a name that no plugin in use offers: who might, else what is like it.

        Args:
            name: a name, or ``provider/name``.
            typed: what the user typed, where the name is a part of it.
        """
        provider, _, bare = name.rpartition("/")
        elsewhere = [str(provided.plugin) for provided in self.offered if provided.spec.name == bare]
        for plugin in self._absent:
            if plugin.is_called(provider or bare) and not elsewhere:
                return f"{self.kind} '{name}': plugin {plugin} {_why_absent(plugin)}."
        if elsewhere:
            return f"{self.kind} '{bare}' is not offered by '{provider}', but by {' and '.join(elsewhere)}."
        from adcli._plugins.remedies import package_to_install

        package = package_to_install(self.kind, bare)
        if package and provider in ("", package):
            return f"unknown {self.kind} '{typed or name}'; the package {package} has it: pip install {package}."
        hints = "".join(f" (plugin {plugin} {_why_absent(plugin)})" for plugin in self._absent)
        return f"unknown {self.kind} '{typed or name}'.{suggest(bare, self)}{hints}"

    def that_made(self, name: str, made_by: Mapping[str, str], what: object) -> Provided[SpecT]:
        """Return the spec that something stored was made with, refusing another or an incompatible version of it.

        Args:
            name: the spec's name.
            made_by: ``distribution`` and ``version`` of the plugin, as they were recorded.
            what: the run or export, for the message.

        Raises:
            PluginError: the plugin is missing, disabled or failed to load, or is of a version that cannot read what
                is stored.
        """
        named = f"{made_by['distribution']} {made_by['version']}"
        provided = self.get(f"{made_by['distribution']}/{name}")
        if provided is None:
            absent = [plugin for plugin in self._absent if plugin.is_called(made_by["distribution"])]
            reason = f"{absent[0]} {_why_absent(absent[0])}" if absent else "it is not installed; install it"
            raise PluginError(f"{what}: was made with {named}, but {reason}.")
        if not _can_read(made_by["version"], provided.plugin.version):
            raise PluginError(f"{what}: was made with {named}; {provided.plugin} cannot read it, install {named}.")
        return provided


def _why_absent(plugin: Plugin) -> str:
    return f"is disabled by {DISABLE}" if plugin.disabled else "failed to load: see 'adcli plugins'"


def _can_read(made_by: str, installed: str) -> bool:
    """Return whether a plugin's version can read what another wrote."""
    from packaging.version import InvalidVersion, Version

    try:
        then, now = Version(made_by), Version(installed)
    except InvalidVersion:
        return made_by == installed
    # Before 1.0, a change of the minor version may change what is stored.
    parts = 1 if then.major else 2
    return then.release[:parts] == now.release[:parts] and now >= then


class Registry:
    """Everything the installed plugins offer."""

    def __init__(self, plugins: list[Plugin], manager: pluggy.PluginManager, warnings: Iterable[str] = ()) -> None:
        self.plugins = plugins
        self.manager = manager
        self.warnings = list(warnings)
        self.failed = [plugin for plugin in plugins if plugin.error]
        self.models: Names[ModelSpec] = self._names(KINDS[ModelSpec], ModelSpec)
        self.datasets: Names[DatasetSpec] = self._names(KINDS[DatasetSpec], DatasetSpec)
        self.backbones: Names[BackboneSpec] = self._names(KINDS[BackboneSpec], BackboneSpec)
        self.exporters: Names[ExporterSpec] = self._names(KINDS[ExporterSpec], ExporterSpec)
        self._commands: dict[str, click.Command] | None = None
        self._untold = [*self.warnings, *(line for plugin in plugins for line in _lines(plugin))]
        self._untold_of_hooks: list[str] = []

    def _names(self, kind: str, spec_type: type[SpecT]) -> Names[SpecT]:
        offered = [
            Provided(spec, plugin) for plugin in self.plugins for spec in plugin.specs if isinstance(spec, spec_type)
        ]
        absent = [plugin for plugin in self.plugins if plugin.error or plugin.disabled]
        return Names(kind, offered, absent)

    def take_lines(self, *, of_hooks_only: bool = False) -> list[str]:
        """Return what the user should be told and was not yet: plugins that failed, and hooks that did since."""
        lines = [*([] if of_hooks_only else self._untold), *self._untold_of_hooks]
        self._untold = self._untold if of_hooks_only else []
        self._untold_of_hooks = []
        return lines

    def call_each(self, hook: str, **arguments: Any) -> None:
        """Call a hook's implementations one by one; one that raises is marked as failed and disturbs no other."""
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            self._call(hook, implementation, arguments)

    def _call(self, hook: str, implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> bool:
        """Call one implementation; what it prints goes to stderr. Returns whether it succeeded."""
        plugin = self._plugin(implementation)
        values = [arguments[name] for name in implementation.argnames]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                traced(hook, plugin, lambda: implementation.function(*values))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._failed_in(f"{hook} raised ", plugin, error)
            return False
        return True

    def _failed_in(self, what: str, plugin: Plugin, error: BaseException) -> None:
        plugin.fail(what, error)
        self._untold_of_hooks.append(_failure(plugin))
        if plugin not in self.failed:
            self.failed.append(plugin)

    def provides(self, plugin: Plugin) -> list[str]:
        """Return what a plugin offers, each with its kind."""
        listeners = self.manager.hook.adcli_run_finished.get_hookimpls()
        return [
            *(f"{KINDS[type(spec)]} {spec.name}" for spec in plugin.specs),
            *(f"command {name}" for name in plugin.commands),
            *("hook adcli_run_finished" for listener in listeners if listener.plugin_name == plugin.key),
        ]

    def _plugin(self, implementation: pluggy.HookImpl) -> Plugin:
        return next(plugin for plugin in self.plugins if plugin.key == implementation.plugin_name)

    def commands(self, taken: Collection[str]) -> Mapping[str, click.Command]:
        """Return the commands that plugins add, by name; of a plugin that fails, or takes a name of another's, none.

        Args:
            taken: names of the program's own commands.
        """
        if self._commands is None:
            self._commands = {}
            for implementation in self.manager.hook.adcli_commands.get_hookimpls():
                self._commands |= self._added(implementation, {*taken, *self._commands})
        return self._commands

    def _added(self, implementation: pluggy.HookImpl, taken: Collection[str]) -> dict[str, click.Command]:
        # A group of its own: none can take away or replace what others added.
        group, plugin = click.Group("adcli"), self._plugin(implementation)
        if not self._call("adcli_commands", implementation, {"cli": group}):
            return {}
        for name, command in group.commands.items():
            problem = "which is no command" if not isinstance(command, click.Command) else ""
            problem = "but there is a command of that name already" if name in taken else problem
            if problem:
                self._failed_in("adcli_commands ", plugin, PluginError(f"adds '{name}' ({command!r}), {problem}"))
                return {}
        plugin.commands = sorted(group.commands)
        return dict(group.commands)


@cache
def registry() -> Registry:
    """Return the registry of this process, loading the plugins on first use."""
    return load()


def load() -> Registry:
    """Load every plugin that ``ADCLI_DISABLE`` (names of plugins or distributions, commas between) leaves on."""
    manager = pluggy.PluginManager("adcli")
    manager.add_hookspecs(hookspecs)
    named = [name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()]
    plugins = [_builtin(manager)]
    for candidate in discover():
        plugin = Plugin(candidate.name, candidate.distribution, candidate.version, warning=candidate.warning)
        plugin.disabled = any(map(plugin.is_called, named))
        if not plugin.disabled:
            _load_plugin(manager, plugin, candidate, plugins)
        plugins.append(plugin)
    return Registry(plugins, manager, _unmatched(named, plugins[1:]))


def _unmatched(named: list[str], plugins: list[Plugin]) -> Iterator[str]:
    """Yield a line for each name in ``ADCLI_DISABLE`` that disables nothing."""
    known = {name for plugin in plugins for name in (plugin.name, plugin.distribution)}
    for name in named:
        if not any(plugin.is_called(name) for plugin in plugins):
            yield f"warning: {DISABLE} names '{name}', which is no plugin.{suggest(name, known)}"


def _builtin(manager: pluggy.PluginManager) -> Plugin:
    from adcli import __version__
    from adcli._plugins import builtin

    plugin = Plugin("core", CORE, __version__)
    _register(manager, plugin, lambda: builtin)
    return plugin


def _load_plugin(
    manager: pluggy.PluginManager, plugin: Plugin, candidate: Candidate, before: Collection[Plugin]
) -> None:
    namesakes = [other for other in before if canonical(other.name) == canonical(plugin.name) and not other.disabled]
    if any(other.key == plugin.key for other in namesakes):
        plugin.fail("", PluginError(f"its metadata name the entry point '{plugin.name}' more than once"))
    elif candidate.problem or candidate.entry_point is None:
        plugin.fail("", PluginError(candidate.problem))
    else:
        _register(manager, plugin, candidate.entry_point.load)
        if namesakes and not plugin.error:
            others = " and ".join(map(str, namesakes))
            _warn(plugin, f"is called '{plugin.name}' as {others} is; tell them apart by their distributions")


def _warn(plugin: Plugin, text: str) -> None:
    plugin.warning = f"{plugin.warning}; it {text}" if plugin.warning else text


def _register(manager: pluggy.PluginManager, plugin: Plugin, load_module: Callable[[], ModuleType]) -> None:
    """Register a plugin's module and collect its specs; on any failure nothing of it stays registered."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), _timed(plugin):
            module = traced("importing the module", plugin, load_module)
            _check_module(manager, module)
            manager.register(module, plugin.key)
            plugin.specs = list(_specs(manager, plugin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.fail("", error)
        # pluggy keeps the hooks it registered before the failing one.
        if manager.has_plugin(plugin.key):
            manager.unregister(name=plugin.key)
    if printed.getvalue().strip():
        _warn(plugin, f"printed to stdout while it was loaded ('{one_line(printed.getvalue())[:60]}')")


@contextlib.contextmanager
def _timed(plugin: Plugin) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        plugin.load_seconds = time.perf_counter() - start


def _check_module(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Refuse a module that is registered already, and hooks that cannot be called."""
    if manager.is_registered(module):
        raise PluginError(f"its module '{module.__name__}' is that of {manager.get_name(module)} already")
    known = {name: _parameters(hook) for name, hook in vars(hookspecs).items() if name.startswith("adcli_")}
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is not None:
            _check_hook(options.get("specname") or name, options, getattr(module, name), known)


def _check_hook(
    name: str, options: Mapping[str, Any], function: Callable[..., Any], known: Mapping[str, list[str]]
) -> None:
    """Refuse a hook we do not know or cannot call, and wrappers, which would see every other plugin's results."""
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(f"hook wrappers such as '{name}' are not supported")
    if name not in known:
        if options.get("optionalhook"):
            return
        raise PluginError(f"unknown hook '{name}'.{suggest(name, known)}")
    extra = [parameter for parameter in _parameters(function) if parameter not in known[name]]
    if extra:
        passed = " and ".join(f"'{parameter}'" for parameter in known[name]) or "nothing"
        raise PluginError(f"hook '{name}' takes '{extra[0]}', but is passed {passed}")


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the parameters that a caller has to give."""
    code, defaults = function.__code__, function.__defaults__ or ()
    return list(code.co_varnames[: code.co_argcount - len(defaults)])


def _specs(manager: pluggy.PluginManager, plugin: Plugin) -> Iterator[Spec]:
    seen: set[tuple[type[Spec], str]] = set()
    for hook, spec_type in _SPEC_HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin_name != plugin.key:
                continue
            for spec in traced(hook, plugin, partial(_listed, hook, spec_type, implementation)):
                if (spec_type, spec.name) in seen:
                    raise PluginError(f"{hook} returned two of the name '{spec.name}'")
                seen.add((spec_type, spec.name))
                yield spec


def _listed(hook: str, spec_type: type[Spec], implementation: pluggy.HookImpl) -> list[Spec]:
    """Call a hook that returns specs, and check them."""
    returned = implementation.function()
    if isinstance(returned, (str, Mapping)) or not isinstance(returned, Iterable):
        raise PluginError(f"{hook} returned {returned!r} where a list of {spec_type.__name__} belongs")
    specs = list(returned)
    for spec in specs:
        if not isinstance(spec, spec_type):
            raise PluginError(f"{hook} returned {spec!r} where a {spec_type.__name__} belongs")
        problem = problem_with(spec)
        if problem:
            raise PluginError(f"{hook} returned a {problem}")
    return specs


def _failure(plugin: Plugin) -> str:
    return f"warning: plugin {plugin} failed: {plugin.error} (see 'adcli plugins')"


def _lines(plugin: Plugin) -> Iterator[str]:
    """Yield what to tell of a plugin."""
    if plugin.error:
        yield _failure(plugin)
    if plugin.warning and not plugin.disabled:
        yield f"warning: plugin {plugin} {plugin.warning}"
