"""What plugins offer: the plugins themselves, their specs, and how a name finds its spec."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from adcli._plugins.discovery import canonical
from adcli._plugins.tracing import trace
from adcli.errors import (
    AdcliError,
    LackOfMemoryError,
    OptionError,
    PluginError,
    is_out_of_memory,
    locate,
    one_line,
    refusal,
    suggest,
)
from adcli.options import list_choices
from adcli.specs import KINDS, Spec, kind_in_words, load_target

DISABLE = "ADCLI_DISABLE"
"""Environment variable: plugins to leave out, by their names or their distributions', separated by commas."""

T = TypeVar("T")
SpecT = TypeVar("SpecT", bound=Spec, covariant=True)


@dataclass
class Plugin:
    """One entry point: where it comes from, what it offers, and why it failed if it did.

    Attributes:
        name: the entry point's name.
        distribution, version: the installed package.
        error: why it failed, one line, or None. A plugin that loads but fails later in a hook keeps its specs.
        remedy: what will most likely help, if it failed.
        warning: what is wrong although it works.
        disabled: whether ``ADCLI_DISABLE`` leaves it out.
        specs: what it offers.
        commands: names of the commands it adds, once they have been collected.
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
        """The name under which pluggy knows it; two distributions may use the same entry point name."""
        return f"{self.distribution}/{self.name}"

    def is_called(self, name: str) -> bool:
        """Return whether a name is the plugin's own or its distribution's, as PEP 503 compares names."""
        return canonical(name) in (canonical(self.name), canonical(self.distribution))

    def fail(self, what: str, error: BaseException) -> None:
        """Record an error and what to do about it."""
        from adcli._plugins.remedies import find_conflict, find_packages, suggest_remedy

        conflict = find_conflict(self.distribution)
        reason = locate(error, *find_packages(self.distribution))
        self.error = f"{what}{reason}" + (f"; {conflict}" if conflict else "")
        self.remedy = suggest_remedy(error, self.name, self.distribution)

    def warn(self, text: str) -> None:
        """Add a warning, a clause with "it" as its subject."""
        self.warning = f"{self.warning}; it {text}" if self.warning else text

    def explain_absence(self) -> str:
        """Return why nothing of it can be used, a clause with the plugin as its subject."""
        return f"is disabled by {DISABLE}" if self.disabled else "failed to load: see 'adcli plugins'"


@dataclass(frozen=True)
class Provided(Generic[SpecT]):
    """A spec and the plugin that offers it."""

    spec: SpecT
    plugin: Plugin

    def load(self, target: str) -> Any:
        """Import what a target of the spec names; raises :class:`PluginError` naming the plugin if that fails."""

        def import_target() -> Any:
            return trace(f"loading {target}", self.plugin, lambda: load_target(target))

        return self.guard(f"{target} cannot be loaded", import_target)

    def guard(self, failure: str, action: Callable[[], T]) -> T:
        """Run code of the plugin, and send what it prints to stderr, so that stdout can be one JSON document.

        Raises:
            PluginError: the code raised anything but an ``AdcliError``; the message names spec, plugin and ``failure``.
        """
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return action()
        except (AdcliError, KeyboardInterrupt):
            raise
        except BaseException as error:  # Plugins may raise anything, even SystemExit.
            if is_out_of_memory(error):
                raise LackOfMemoryError from None
            if refused := refusal(error):
                raise refused from error
            from adcli._plugins.remedies import suggest_remedy

            remedy = suggest_remedy(error, self.plugin.name, self.plugin.distribution)
            reason = f"{failure} ({locate(error, self.spec.target.partition(':')[0].partition('.')[0])})"
            raise PluginError(f"'{self.spec.name}' of {self.plugin}: {reason}; {remedy}.") from error


class Names(Generic[SpecT]):
    """The specs of one kind by name; if two plugins offer a name, it needs a provider: ``provider/name``."""

    def __init__(self, spec_type: type[SpecT], plugins: Iterable[Plugin]) -> None:
        plugins = list(plugins)
        self.kind = kind_in_words(KINDS[spec_type])
        self.offered = [Provided(s, plugin) for plugin in plugins for s in plugin.specs if isinstance(s, spec_type)]
        self._absent = [plugin for plugin in plugins if plugin.error or plugin.disabled]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({provided.spec.name for provided in self.offered}))

    def __getitem__(self, name: str) -> Provided[SpecT]:
        """Return what a name stands for; raises :class:`OptionError` if no plugin offers it."""
        found = self.get(name)
        if found is None:
            raise OptionError(self.explain_unknown(name))
        return found

    def get(self, name: str) -> Provided[SpecT] | None:
        """Return what ``name`` or ``provider/name`` stands for, or None; raises :class:`PluginError` on a clash.

        A provider is a distribution, or a plugin if no distribution has that name.
        """
        provider, _, bare = name.rpartition("/")
        found = [provided for provided in self.offered if provided.spec.name == bare]
        if provider:
            wanted = canonical(provider)
            of_distribution = [item for item in found if canonical(item.plugin.distribution) == wanted]
            found = of_distribution or [item for item in found if canonical(item.plugin.name) == wanted]
        if len(found) > 1:
            raise PluginError(self._explain_clash(name, [item.plugin for item in found]))
        return found[0] if found else None

    def _explain_clash(self, name: str, plugins: list[Plugin]) -> str:
        distributions = [plugin.distribution for plugin in plugins]
        # Two plugins of one distribution can only be told apart by their own names.
        providers = [
            plugin.name if distributions.count(plugin.distribution) > 1 else plugin.distribution for plugin in plugins
        ]
        bare = name.rpartition("/")[2]
        choices = " or ".join(f"'{provider}/{bare}'" for provider in providers)
        return (
            f"{self.kind} '{name}' is offered by {' and '.join(map(str, plugins))}; say which, {choices}, or leave "
            f"one out with {DISABLE}={providers[-1]}."
        )

    def explain_unknown(self, name: str, typed: str = "") -> str:
        """Return the message for a name that no plugin in use offers.

        Args:
            name: a name, or ``provider/name``.
            typed: what the user typed, if the name is only a part of it.
        """
        provider, _, bare = name.rpartition("/")
        elsewhere = [str(provided.plugin) for provided in self.offered if provided.spec.name == bare]
        if elsewhere:
            return f"{self.kind} '{bare}' is not offered by '{provider}', but by {' and '.join(elsewhere)}."
        # Plugins are mostly named after what they offer, so one that failed is the most likely provider.
        for plugin in self._absent:
            if plugin.is_called(provider or bare):
                return f"{self.kind} '{name}': plugin {plugin} {plugin.explain_absence()}."
        hint = suggest(bare, self)
        if not hint.startswith(" Did you mean"):
            hint += self._guess_package(provider, bare)
        absent = "".join(f" (plugin {plugin} {plugin.explain_absence()})" for plugin in self._absent)
        return f"unknown {self.kind} '{typed or name}'.{hint}{absent}"

    def _guess_package(self, provider: str, bare: str) -> str:
        """Return a sentence that names the packages to look for, unless they are installed and do not have it."""
        from adcli._commands import find_distribution, find_sibling, install_command
        from adcli._plugins.remedies import guess_packages

        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*:?", provider or bare, re.ASCII):
            return ""  # no package can have such a name
        packages = [provider] if provider else guess_packages(self.kind, bare)
        absent = [package for package in packages if find_distribution(package) is None]
        near = next(filter(find_sibling, absent), "")
        if near:
            return f" It may be in {near}: {install_command(near)}"
        return f" Is {' or '.join(absent)} installed?" if absent else ""

    def find_maker(self, name: str, made_by: Mapping[str, str], what: object) -> Provided[SpecT]:
        """Return the spec that a stored run or export was made with.

        Args:
            name: the spec's name.
            made_by: ``distribution`` and ``version`` of the plugin, as recorded.
            what: the run or export, for the message.

        Raises:
            PluginError: the plugin is missing, disabled or failed to load, or its version cannot read what is stored.
        """
        maker = f"{made_by['distribution']} {made_by['version']}"
        provided = self.get(f"{made_by['distribution']}/{name}")
        if provided is None:
            offered = [item.spec.name for item in self.offered if item.plugin.is_called(made_by["distribution"])]
            if offered:
                names = list_choices([f"'{one_line(each)}'" for each in sorted(offered)])
                raise PluginError(
                    f"{what}: says that it was made with {self.kind} '{one_line(name)[:60]}' of {maker}, which offers "
                    f"{names}; copy it again if it was changed, or install the version that offers it."
                )
            absent = [plugin for plugin in self._absent if plugin.is_called(made_by["distribution"])]
            reason = (
                f"{absent[0]} {absent[0].explain_absence()}." if absent else _explain_missing(made_by["distribution"])
            )
            raise PluginError(f"{what}: was made with {maker}, but {reason}")
        if not _can_read(made_by["version"], provided.plugin.version):
            raise PluginError(f"{what}: was made with {maker}; {provided.plugin} cannot read it, install {maker}.")
        return provided


def _explain_missing(distribution: str) -> str:
    """Return what to do about a plugin that is not installed; what a stranger's file names is no command to paste."""
    from adcli._commands import find_sibling, install_command

    known = find_sibling(distribution)
    return f"it is not installed: {install_command(distribution)}" if known else "it is not installed; install it."


def _can_read(made_by: str, installed: str) -> bool:
    """Return whether one version of a plugin can read what another wrote."""
    from packaging.version import InvalidVersion, Version

    try:
        then, now = Version(made_by), Version(installed)
    except InvalidVersion:
        return made_by == installed
    # Before 1.0, a new minor version may store things differently.
    parts = 1 if then.major else 2
    return then.release[:parts] == now.release[:parts] and now >= then
