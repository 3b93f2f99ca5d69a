"""The commands' options: made from what settings declare, in groups, each given once, and named as they were typed."""

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource

from adcli._commands import quote
from adcli._files import check_reachable
from adcli.cli.console import TYPED, explain, print_versions, voice
from adcli.errors import OptionError, StorageError, suggest
from adcli.options import list_choices, validate
from adcli.runs.settings import FIELDS, TrainSettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SECTIONS = ("Arguments", "Model", "Data", "Images", "Calibration", "Computing", "Run", "Output", "Options")
"""The order of what ``--help`` lists."""

RUN = "A path, a name under runs, or 'last'."
OPENED = "A path, a name under runs, or 'last'; or an export, such as last/exports/openvino."
SCORING = ("skip_unreadable", "batch_size", "device", "workers")
"""The settings that every command takes which scores images with a finished run."""

_NAMES = "adcli.names"
"""Where a context keeps what ``-o`` and ``-d`` called each key."""


# A generic class since click 8.2.
if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice


class Flag(click.Option):
    """An option that stands in a section of ``--help``."""

    def __init__(self, *args: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


class Operand(click.Argument):
    """An argument that ``--help`` explains."""

    section = "Arguments"

    def __init__(self, *args: Any, help: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.help = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.metavar or self.human_readable_name.upper(), self.help or ""


class Choice(_Choice):
    """One of several words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        raise OptionError(
            f"must be {list_choices(self.choices)}, not '{value}'.{suggest(str(value), self.choices, listed=False)}",
            option=_name(param, ctx),
        )


class Place(click.Path):
    """A file or folder that is read: any path but an empty one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value):
            raise OptionError("is empty; give a path.", option=_name(param, ctx))
        return Path(str(value))


class Folder(Place):
    """A folder that is read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        check_reachable(path, partial(OptionError, option=_name(param, ctx)))
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises in a folder that may not be entered
            raise OptionError(f"{path}: no such folder.", option=_name(param, ctx))
        return path


class NewPlace(Place):
    """A folder that is written: what stands in its way is said before anything is computed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        where = f"{_name(param, ctx)} {path}"
        for folder in (path, *path.parents):
            try:
                is_folder = stat.S_ISDIR(folder.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise StorageError(f"{where}: cannot be written ({reason}); choose another folder.") from None
            if is_folder:
                return path
            raise StorageError(f"{where}: {folder} is a file; choose another folder.")
        return path


def _name(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return what the value that is parsed is called."""
    return spell(ctx, param) if ctx and param else "the value"


def _set_voice(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        ctx.meta["adcli.voice"] = parameter.name


VOICES = [
    click.Option([f"-{name[0]}", f"--{name}"], is_flag=True, expose_value=False, callback=_set_voice, help=help)
    for name, help in (
        ("quiet", "Print results, warnings and errors only."),
        ("verbose", "Also print versions, times and the reasons of errors."),
    )
]


class Command(click.Command):
    """A command whose options have sections, and that refuses a second value for an option that takes one."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.extend(VOICES)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[TYPED] = list(args)
        if not ctx.resilient_parsing:
            self._refuse_equals(ctx, args)
            self._refuse_repetition(ctx, args)
        return super().parse_args(ctx, args)

    def _refuse_equals(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse ``-q=3`` and ``-m=padim``: click would take the sign for an option, or for a part of the value."""
        options = {name: parameter for parameter in self.get_params(ctx) for name in parameter.opts}
        for argument in takewhile(lambda argument: argument != "--", args):
            name, equals, value = argument.partition("=")
            found = options.get(name) if equals else None
            if not isinstance(found, click.Option):
                continue
            if found.is_flag:
                raise OptionError(f"takes no value, not '{value}'.", option=name)
            if not name.startswith("--"):
                raise OptionError(f"takes its value after a space: {quote(name, value)}", option=name)

    def _refuse_repetition(self, ctx: click.Context, args: list[str]) -> None:
        # click itself takes the last of several values.
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in order:
            takes_one = isinstance(parameter, click.Option) and not (parameter.multiple or parameter.is_flag)
            if takes_one and order.count(parameter) > 1:
                raise OptionError("takes one value; give it once.", option=spell(ctx, parameter))

    def invoke(self, ctx: click.Context) -> Any:
        start = time.perf_counter()
        loud = voice() == "verbose" and not isinstance(self, click.Group)
        try:
            if loud:
                print_versions()
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, OptionError):
                names = ctx.meta.get(_NAMES, {}).get(error.option, ())
                error.option = names[0] if len(names) == 1 else error.option
            if loud:
                explain(error)
            raise
        finally:
            if loud:
                click.echo(f"took {time.perf_counter() - start:.2f} s", err=True)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for section in sorted(sections, key=SECTIONS.index):
            with formatter.section(section):
                formatter.write_dl(sections[section])
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: from 8.5 on, click has a section for arguments, and they stand in ours."""


class Group(Command, click.Group):
    """A group of such commands; an unknown one is answered with the closest name."""

    command_class = Command
    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; click would cut what they do to one line of the terminal."""
        for title, names in self.sections(ctx).items():
            listed = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, found.get_short_help_str(1000)) for name, found in listed if found and not found.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def sections(self, ctx: click.Context) -> Mapping[str, Sequence[str]]:
        """Return the names of commands, by the title that they are listed under."""
        return {"Commands": self.list_commands(ctx)}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            raise OptionError(f"unknown command '{args[0]}'.{suggest(args[0], known)}")
        if self.invoke_without_command and not ctx.resilient_parsing:
            self._refuse_given(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse_given(self, ctx: click.Context, command: str) -> None:
        """Refuse options of the group before the name of a command, which would not see them."""
        for parameter in self.params:
            if ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
                what = f"stands before '{command}', and would be ignored; write it after that, or leave it out."
                raise OptionError(what, option=spell(ctx, parameter))


def spell(ctx: click.Context, parameter: click.Parameter) -> str:
    """Return an option as it was typed, ``-m`` or ``--model``."""
    for argument in reversed(ctx.meta.get(TYPED, ())):
        for name in parameter.opts:
            short = not name.startswith("--") and not argument.startswith("--")
            if argument.split("=")[0] == name or (short and argument.startswith(name)):
                return name
    return max(parameter.opts, key=len)


def setting(name: str, help: str = "", *, otherwise: str = "", section: str = "") -> Callable[[Decorated], Decorated]:
    """Add the option of a setting.

    It is None unless it is given, so that one default stands in one place.

    Args:
        name: a field of :class:`TrainSettings`.
        help, otherwise: the field's, if another command does not mean something else.
        section: likewise.
    """
    field = FIELDS[name]
    declared = field.metadata
    is_dict, words = get_origin(field.type) is dict, declared.get("words", False)
    default = otherwise or declared.get("otherwise") or ("" if field.type is bool else field.default)
    help = help or declared["help"]
    return flag(
        *declared.get("flags", (f"--{name.replace('_', '-')}",)),
        name,
        section=section or declared["group"],
        complete=declared.get("complete") or (get_args(field.type) if get_origin(field.type) is Literal else ""),
        metavar=declared["metavar"] or None,
        is_flag=field.type is bool,
        default=None,
        multiple=is_dict or words,
        callback=parse_pairs if is_dict else _join_words if words else _read_setting,
        help=f"{help.rstrip('.')} ({default})." if isinstance(default, (str, int, float)) and default != "" else help,
    )


def settings(*names: str) -> Callable[[Decorated], Decorated]:
    """Add the options of several settings."""

    def add(command: Decorated) -> Decorated:
        for name in reversed(names):
            command = setting(name)(command)
        return command

    return add


def _read_setting(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is None:
        return None
    try:
        return validate(TrainSettings, str(parameter.name), value)
    except OptionError as error:
        error.option = spell(ctx, parameter)
        raise


def _join_words(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Any:
    return _read_setting(ctx, parameter, " ".join(values) if values else None)


def parse_pairs(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Turn repeated ``KEY=VALUE`` into a dictionary; a click callback."""
    pairs: dict[str, str] = {}
    flag = parameter.opts[0]
    for value in values:
        key, equals, text = value.partition("=")
        key = key.strip()
        if not equals or not key:
            raise OptionError(f"must be KEY=VALUE, not '{value}'.", option=flag)
        if key in pairs:
            raise OptionError("takes one value; give it once.", option=f"{flag} {key}")
        pairs[key] = text
        name_key(ctx, key, f"{flag} {key}")
    return pairs


def name_key(ctx: click.Context, key: str, name: str) -> None:
    """Have an error about an option of a model or data set use this name for it, if no other has the same key."""
    ctx.meta.setdefault(_NAMES, {}).setdefault(key, []).append(name)


def pairs(help: str, *, complete: str) -> Callable[[Decorated], Decorated]:
    """Add ``-o KEY=VALUE`` for what is no model."""
    return flag("-o", "options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help=help, complete=complete)


def drop_missing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def completing(kind: str | Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Return what click asks for the completions of an option, of a kind or of several words."""

    def complete_kind(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from adcli.cli.shells import complete

        return complete(kind, ctx, incomplete)

    return complete_kind


def flag(
    *names: str, section: str = "Options", complete: str | Sequence[str] = "", **attributes: Any
) -> Callable[[Decorated], Decorated]:
    """Add an option that is no setting."""
    return click.option(
        *names, cls=Flag, section=section, shell_complete=completing(complete) if complete else None, **attributes
    )


def operand(name: str, help: str, *, complete: str = "", **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Add an argument, and what ``--help`` says of it."""
    shell_complete = completing(complete) if complete else None
    return click.argument(name, cls=Operand, help=help, shell_complete=shell_complete, **attributes)


def out_flag(help: str, *, section: str = "Output") -> Callable[[Decorated], Decorated]:
    """Add ``--out``."""
    return flag("--out", section=section, type=NewPlace(), metavar="DIR", complete="folders", help=help)


json_flag = flag("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _allow_megapixels(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Allow photographs of so many megapixels while the command runs."""
    if value is None:
        return
    from adcli.data.formats import LIMIT_VARIABLE, parse_limit

    before = os.environ.get(LIMIT_VARIABLE)
    os.environ[LIMIT_VARIABLE] = str(parse_limit(value, spell(ctx, parameter)))

    def restore() -> None:
        os.environ.pop(LIMIT_VARIABLE, None)
        os.environ.update({} if before is None else {LIMIT_VARIABLE: before})

    ctx.call_on_close(restore)


megapixels_flag = flag(
    "--max-megapixels",
    section="Computing",
    metavar="N",
    expose_value=False,
    callback=_allow_megapixels,
    help="Largest photograph that is read ($ADCLI_MAX_MEGAPIXELS, else 600).",
)
"""No setting of a run: it depends on who reads, and on the memory there, and changes nothing that is computed."""
