"""The registry of this process: every installed plugin, what it offers, and what failed."""

import contextlib
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import click
import pluggy

from adcli import __version__, hookspecs
from adcli._plugins import builtin
from adcli._plugins.discovery import Candidate, canonical, discover
from adcli._plugins.loading import defined_at, load_plugin
from adcli._plugins.offers import DISABLE, Names, Plugin, Provided
from adcli._plugins.tracing import trace
from adcli.errors import PluginError, suggest
from adcli.specs import KINDS, BackboneSpec, DatasetSpec, ExecutorSpec, ExporterSpec, Kind, ModelSpec, kind_in_words

__all__ = ["CORE", "Names", "Plugin", "Provided", "Registry", "load", "registry"]

CORE = "adcli-core"


@cache
def registry() -> "Registry":
    """Return the registry of this process, loading the plugins on first use."""
    return load()


def load() -> "Registry":
    """Load every plugin that ``ADCLI_DISABLE`` leaves on."""
    manager = pluggy.PluginManager("adcli")
    manager.add_hookspecs(hookspecs)
    disabled = [name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()]
    core = Plugin("core", CORE, __version__)
    load_plugin(manager, core, lambda: builtin)
    plugins: list[Plugin] = []
    for candidate in discover():
        plugin = Plugin(candidate.name, candidate.distribution, candidate.version, warning=candidate.warning)
        plugin.disabled = any(map(plugin.is_called, disabled))
        if not plugin.disabled:
            _load_candidate(manager, plugin, candidate, [core, *plugins])
        plugins.append(plugin)
    return Registry([core, *plugins], manager, _check_disabled(disabled, core, plugins))


def _load_candidate(
    manager: pluggy.PluginManager, plugin: Plugin, candidate: Candidate, others: Iterable[Plugin]
) -> None:
    same_name = [other for other in others if canonical(other.name) == canonical(plugin.name) and not other.disabled]
    if any(other.key == plugin.key for other in same_name):
        plugin.fail("", PluginError(f"its metadata list the entry point '{plugin.name}' more than once"))
    elif candidate.problem or candidate.entry_point is None:
        plugin.fail("", PluginError(candidate.problem))
    else:
        load_plugin(manager, plugin, candidate.entry_point.load)
        if same_name and not plugin.error:
            names = " and ".join(map(str, same_name))
            plugin.warn(f"is called '{plugin.name}', as is {names}; tell them apart by their distributions")


def _check_disabled(disabled: Iterable[str], core: Plugin, plugins: Collection[Plugin]) -> Iterator[str]:
    """Yield a warning for each name in ``ADCLI_DISABLE`` that leaves nothing out."""
    known = {name for plugin in plugins for name in (plugin.name, plugin.distribution)}
    for name in disabled:
        if any(plugin.is_called(name) for plugin in plugins):
            continue
        if core.is_called(name):
            yield f"warning: {DISABLE}: '{name}' is adcli itself, which cannot be left out; remove the name."
        else:
            yield f"warning: {DISABLE}: no plugin named '{name}'.{suggest(name, known)}"


class Registry:
    """Everything that the installed plugins offer.

    Hooks are called one implementation at a time, so that one that raises is recorded and disturbs no other.
    """

    def __init__(self, plugins: list[Plugin], manager: pluggy.PluginManager, warnings: Iterable[str]) -> None:
        self.plugins = plugins
        self.manager = manager
        self.warnings = list(warnings)
        self.models = Names(ModelSpec, plugins)
        self.datasets = Names(DatasetSpec, plugins)
        self.backbones = Names(BackboneSpec, plugins)
        self.exporters = Names(ExporterSpec, plugins)
        self.executors = Names(ExecutorSpec, plugins)
        self.by_kind: Mapping[Kind, Names[Any]] = {
            "model": self.models,
            "dataset": self.datasets,
            "backbone": self.backbones,
            "exporter": self.exporters,
            "executor": self.executors,
        }
        self._commands: dict[str, click.Command] | None = None
        # What the user has not been told yet. Failures in hooks are told even by commands that use no other plugin.
        self._load_warnings = [*self.warnings, *(line for plugin in plugins for line in _report(plugin))]
        self._hook_warnings: list[str] = []

    @property
    def failed(self) -> list[Plugin]:
        """The plugins that failed to load, or in a hook since."""
        return [plugin for plugin in self.plugins if plugin.error]

    def take_warnings(self) -> list[str]:
        """Return, once, what the user should know: plugins and hooks that failed, and what else is wrong."""
        lines, self._load_warnings = self._load_warnings, []
        return [*lines, *self.take_hook_warnings()]

    def take_hook_warnings(self) -> list[str]:
        """Return, once, which hooks failed."""
        lines, self._hook_warnings = self._hook_warnings, []
        return lines

    def call_each(self, hook: str, **arguments: Any) -> None:
        """Call every implementation of a hook; one that raises marks its plugin as failed."""
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            self._call(hook, implementation, arguments)

    def _call(self, hook: str, implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> bool:
        """Call one implementation, send what it prints to stderr, and return whether it succeeded."""
        plugin = self._find_owner(implementation)
        values = [arguments[name] for name in implementation.argnames]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                trace(hook, plugin, lambda: implementation.function(*values))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Plugins may raise anything, even SystemExit.
            self._record_failure(f"{hook} raised ", plugin, error)
            return False
        return True

    def _find_owner(self, implementation: pluggy.HookImpl) -> Plugin:
        return next(plugin for plugin in self.plugins if plugin.key == implementation.plugin_name)

    def _record_failure(self, what: str, plugin: Plugin, error: BaseException) -> None:
        plugin.fail(what, error)
        self._hook_warnings.append(_report_failure(plugin))

    def provides(self, plugin: Plugin) -> list[str]:
        """Return what a plugin offers, each with its kind."""
        listeners = self.manager.hook.adcli_run_finished.get_hookimpls()
        return [
            *(f"{kind_in_words(KINDS[type(spec)])} {spec.name}" for spec in plugin.specs),
            *(f"command {name}" for name in plugin.commands),
            *("hook adcli_run_finished" for listener in listeners if listener.plugin_name == plugin.key),
        ]

    def commands(self, taken: Collection[str]) -> Mapping[str, click.Command]:
        """Return the commands that plugins add, by name; a plugin that fails or takes another's name adds none.

        Args:
            taken: names of the program's own commands.
        """
        if self._commands is None:
            self._commands = {}
            for implementation in self.manager.hook.adcli_commands.get_hookimpls():
                self._commands |= self._collect_commands(implementation, {*taken, *self._commands})
        return self._commands

    def _collect_commands(self, implementation: pluggy.HookImpl, taken: Collection[str]) -> dict[str, click.Command]:
        # In a group of its own, a plugin can neither remove nor replace the commands of others.
        group, plugin = click.Group("adcli"), self._find_owner(implementation)
        if not self._call("adcli_commands", implementation, {"cli": group}):
            return {}
        for name, command in group.commands.items():
            problem = "but a command of that name already exists" if name in taken else ""
            if not isinstance(command, click.Command):
                problem = "which is not a click command"
            if problem:
                error = PluginError(f"adds '{name}' ({command!r}), {problem}{defined_at(implementation.function)}")
                self._record_failure("adcli_commands ", plugin, error)
                return {}
        plugin.commands = sorted(group.commands)
        return dict(group.commands)


def _report(plugin: Plugin) -> Iterator[str]:
    """Yield what the user should know of a plugin once it has been loaded."""
    if plugin.error:
        yield _report_failure(plugin)
    if plugin.warning and not plugin.disabled:
        yield f"warning: plugin {plugin} {plugin.warning}"


def _report_failure(plugin: Plugin) -> str:
    return f"warning: plugin {plugin} failed: {plugin.error} (see 'adcli plugins')"
