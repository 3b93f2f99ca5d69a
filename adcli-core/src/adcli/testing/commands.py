"""The rules for commands of plugins. A rule is a function whose docstring says what it promises."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from adcli._plugins.registry import CORE, Plugin, registry
from adcli._plugins.remedies import find_packages
from adcli.errors import one_line, suggest
from adcli.specs import load_target
from adcli.testing._failures import LocatedError
from adcli.testing._places import unknown
from adcli.testing.assertions import assert_imports_none, traces

PROGRAM = "adcli.cli:cli"
"""The group that commands are added to."""

NAME = r"[a-z][a-z0-9]*([-_][a-z0-9]+)*"
NO_OPTION = "--no-such-option"


class Subject:
    """A command under test."""

    def __init__(self, name: str, command: click.Command, plugin: Plugin) -> None:
        self.name = name
        self.command = command
        self.plugin = plugin

    @property
    def hook(self) -> Callable[..., Any]:
        """The plugin's function that adds it."""
        found = registry().manager.hook.adcli_commands.get_hookimpls()
        hook: Callable[..., Any] = next(each.function for each in found if each.plugin_name == self.plugin.key)
        return hook

    def add(self) -> click.Group:
        """Have the plugin add its commands to a group of its own."""
        group = click.Group("adcli")
        self.hook(group)
        return group

    def run(self, *arguments: str) -> str:
        """Run the command in this process, and return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.command.main(list(arguments), prog_name=f"adcli {self.name}", standalone_mode=False)
        return printed.getvalue()

    def parts(self) -> Iterator[tuple[str, click.Command]]:
        """Yield the command, and the commands in it if it is a group, with what one types for each."""
        yield from _list_parts(self.name, self.command)


def _list_parts(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, part in command.commands.items():
            yield from _list_parts(f"{name} {inner}", part)


def list_commands() -> dict[str, tuple[click.Command, Plugin]]:
    """Return the commands of plugins, by name, with who adds them."""
    program: click.Group = load_target(PROGRAM)
    added = registry().commands(program.commands)
    owners = {name: plugin for plugin in registry().plugins for name in plugin.commands}
    return {name: (command, owners[name]) for name, command in added.items()}


def subject_of(name: str) -> Subject:
    """Return the subject of a command's name."""
    added = list_commands()
    if name not in added:
        raise unknown(name, f"no plugin adds the command '{name}'.{suggest(name, added)}")
    return Subject(name, *added[name])


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that a command's code is in."""
    functions = (subject.hook, *(part.callback for _, part in subject.parts() if part.callback))
    own = {function.__module__.partition(".")[0] for function in functions}
    return own | set(find_packages(subject.plugin.distribution))


def looked_at(subject: Subject, rule: str) -> Any:
    """Return the function that a rule is about: the one that adds the command, or the command's own."""
    return subject.hook if rule == "adding_is_silent_and_repeatable" else subject.command.callback or subject.hook


_LIST = """
import click
from adcli.cli import cli
ctx = click.Context(cli, info_name='adcli')
cli.get_help(ctx)
command = cli.get_command(ctx, sys.argv[2])
command.get_help(click.Context(command, parent=ctx, info_name=sys.argv[2]))
watch.report()
"""


def listing_imports_nothing_heavy(subject: Subject) -> None:
    """``adcli --help`` and the command's own help import neither torch nor numpy."""
    own = (subject.plugin.distribution, CORE)
    others = [other.name for other in registry().plugins if other.distribution not in own]
    assert_imports_none("listing it", _LIST, ("torch", "numpy"), subject.name, disabled=others)


def the_command_is_documented(subject: Subject) -> None:
    """The command, and each command in it, has a name in lower case and a help text, and every option has help."""
    for name, command in subject.parts():
        last = name.split()[-1]
        assert re.fullmatch(NAME, last), f"name is '{last}', expected lower case letters, digits and dashes"
        if not (command.help or "").strip():
            raise _found(command, f"'{name}' has no help, expected a docstring or help=")
        options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        silent = [option.opts[0] for option in options if not option.help]
        if silent:
            raise _found(command, f"'{name}': expected help for every option, found none for {', '.join(silent)}")


def _found(command: click.Command, message: str) -> LocatedError:
    """Return a failure at a command's function."""
    code = getattr(command.callback, "__code__", None)
    return LocatedError(message, [(code.co_filename, code.co_firstlineno)] if code else [])


def adding_is_silent_and_repeatable(subject: Subject) -> None:
    """Adding commands prints nothing, writes nothing into the current folder, and adds the same again."""
    traces(subject.add).assert_none()
    first, second = sorted(subject.add().commands), sorted(subject.add().commands)
    assert first == second, f"the second time it adds {second}, expected {first}"


def help_runs_nothing(subject: Subject) -> None:
    """``--help`` prints how the command is used, and writes nothing into the current folder."""
    printed: list[str] = []
    left = traces(lambda: printed.append(subject.run("--help")))
    left.assert_none()
    assert printed[0].startswith("Usage:"), f"--help prints {printed[0][:60]!r}, expected how the command is used"


def a_wrong_option_is_refused(subject: Subject) -> None:
    """An option that the command does not have is an error of usage, unless it is declared to take any."""
    for name, command in subject.parts():
        if command.ignore_unknown_options or command.context_settings.get("ignore_unknown_options"):
            continue
        try:
            command.make_context(name, [NO_OPTION])
        except click.UsageError:
            continue
        except Exception as error:
            raise _found(command, f"'{name} {NO_OPTION}' raises {one_line(error)}, expected a UsageError") from error
        raise _found(command, f"'{name} {NO_OPTION}' is taken, expected a UsageError")


_ALL: Sequence[Callable[[Subject], None]] = (
    listing_imports_nothing_heavy,
    the_command_is_documented,
    adding_is_silent_and_repeatable,
    help_runs_nothing,
    a_wrong_option_is_refused,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
