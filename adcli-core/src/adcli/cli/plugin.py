"""``adcli plugin``: writing a plugin, and checking that it keeps the rules."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from adcli._commands import quote
from adcli._plugins.registry import registry
from adcli.cli.console import apart, iterate_apart, print_fact, print_json, print_line, report_failed_plugins
from adcli.cli.flags import Choice, Group, flag, json_flag, operand, out_flag, pairs, settings
from adcli.cli.listing import suggest_model
from adcli.errors import AdcliError, DataError, OptionError, PluginError, needing_torch
from adcli.specs import Kind

if TYPE_CHECKING:
    from adcli.testing import Checked, Result

KINDS: tuple[Kind, ...] = get_args(Kind)

_USE = {
    "model": "adcli train --model {name}",
    "dataset": "adcli train --model {model} --data {name} -d root=FOLDER",
    "executor": "adcli sweep --model {model} --data FOLDER --out DIR --executor {name}",
    "command": "adcli {name} last",
}


@click.group(cls=Group)
def plugin() -> None:
    """Write a plugin, and check that it keeps the rules."""


@plugin.command()
@operand(
    "name",
    "What --model, --data, --backbone, --to or --executor take, or a command of a plugin.",
    complete="everything",
)
@flag("--kind", type=Choice(KINDS), help="What NAME is, if several kinds have one of that name.")
@settings("data_options")
@pairs("Option of the model, exporter or executor.", complete="checked_options")
@json_flag
def check(name: str, kind: Kind | None, data_options: dict[str, str], options: dict[str, str], as_json: bool) -> int:
    """Check that what a plugin offers keeps every rule.

    Fits a model to a dozen small images with its quick options, exports a small model, loads a data set with the
    options given, has an executor make a few runs, or asks a command for its help. If a rule is broken, the exit code
    is 6. ADCLI_TRACE=1 prints tracebacks.

    \b
    Examples:
      adcli plugin check my_model
      adcli plugin check line3 -d root=/archive/line3
      adcli plugin check random:resnet18
    """
    from adcli.testing import check_plugin

    report_failed_plugins()
    with apart():
        checked = _choose_subject(name, kind, data_options, options)
        with needing_torch():
            rules = checked.rules()
    results = []
    for result in iterate_apart(check_plugin(checked)):
        results.append(result)
        if not as_json:
            _print_result(result, max(map(len, rules)))
    failed = [result.rule for result in results if result.problem and not result.because]
    unchecked = [result.rule for result in results if result.because]
    if as_json:
        listed = [vars(result) for result in results]
        found = {"rules": listed, "failed": failed, "not_checked": unchecked}
        print_json({"name": name, "kind": checked.kind, **found})
    else:
        _print_causes(results)
        _print_summary(checked, results, failed)
    return PluginError.exit_code if failed else 0


def _choose_subject(name: str, kind: Kind | None, data_options: dict[str, str], options: dict[str, str]) -> "Checked":
    """Return what to check, with its options parsed once, so that a wrong one is one line and no broken rule."""
    from adcli.testing import Checked

    checked = Checked(name, kind)
    if data_options and checked.kind != "dataset":
        raise OptionError(f"-d is for data sets, and '{name}' is of kind {checked.kind}.")
    if options and checked.kind not in ("model", "exporter", "executor"):
        raise OptionError(f"-o is for models, exporters and executors, and '{name}' is of kind {checked.kind}.")
    if checked.kind == "backbone":
        _make_once(checked)
        return checked
    if checked.kind == "command":
        return checked
    checked = Checked(name, checked.kind, data_options or options)
    registry().by_kind[checked.kind][name].spec.options.parse(data_options or options)
    if checked.kind == "dataset" and not data_options:
        _load_without_options(checked)
    return checked


def _make_once(checked: "Checked") -> None:
    """Make ``prefix:ARGUMENT`` once: a network or weights that are not there are one line, not ten broken rules."""
    if ":" not in checked.name:
        return
    with needing_torch():
        subject = checked.subject()
    try:
        subject.make((1,))
    except AdcliError:
        raise
    except Exception:
        return  # which the rules report


def _load_without_options(checked: "Checked") -> None:
    """Load a data set once: the lack of a folder is one line, and no broken rules."""
    subject = checked.subject()
    try:
        subject.load()
    except (OptionError, DataError) as error:
        words = error.format_message()
        needed = [info for info in subject.spec.options.describe() if info.default is None]
        given = [word for info in needed for word in ("-d", f"{info.name}={_placeholder(info.name, info.type)}")]
        start = ("adcli", "plugin", "check") if given else ("adcli", "datasets", "show")
        command = quote(*start, checked.name, *given)
        raise OptionError(f"data set '{checked.name}' needs options to load: {command}    (it says: {words})") from None
    except Exception:
        return  # which the rules report


def _placeholder(name: str, kind: str) -> str:
    """Return what stands for an option's value in a command to copy."""
    return "FOLDER" if name == "root" else kind.partition(" ")[0].upper()


def _print_result(result: "Result", width: int) -> None:
    """Print a rule in a line, and below it what it found, unless that has been said."""
    if not result.problem:
        verdict = click.style("ok", fg="green")
    elif result.because:
        verdict = click.style("not checked", fg="yellow")
    else:
        verdict = click.style("FAILED", fg="red", bold=True)
    click.echo(f"{result.rule:<{width}}  {result.seconds:5.1f} s  {verdict}")
    if result.problem and not (result.because or result.same_as):
        print_line(f"  {result.problem}", 2)
        if result.where:
            print_line(f"  at {result.where}", 2)


def _print_causes(results: "Sequence[Result]") -> None:
    """Print, for each rule that failed, which others have failed for the same or could not be checked."""
    for failed in results:
        same = [result.rule for result in results if result.same_as == failed.rule and not result.because]
        unchecked = [result.rule for result in results if result.because == failed.rule]
        if same:
            print_line(f"broken as {failed.rule} is: {', '.join(same)}", 2)
        if unchecked:
            print_line(f"not checked (because {failed.rule} failed): {', '.join(unchecked)}", 2)


def _print_summary(checked: "Checked", results: "list[Result]", failed: list[str]) -> None:
    seconds = sum(result.seconds for result in results)
    kept = sum(not result.problem for result in results)
    unchecked = len(results) - kept - len(failed)
    words = [f"{checked.kind} '{checked.name}' keeps {kept} of {len(results)} rules"]
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        words.append(f"breaks {', '.join(failed[:3])}{more}")
    if unchecked:
        words.append(f"{unchecked} not checked")
    print_line(f"{', '.join(words)} ({seconds:.0f} s)", 2)


@plugin.command()
@operand("name", "What users will type, such as my_model; the package is then adcli-my-model.")
@flag(
    "--kind",
    type=Choice(KINDS),
    default="model",
    metavar="model|dataset|executor|command",
    help="What the plugin offers (model).",
)
@out_flag("The package's folder (adcli-NAME).")
@click.pass_context
def new(ctx: click.Context, /, name: str, kind: Kind, out: Path | None) -> None:
    """Write a complete package for a plugin.

    It works and passes its tests as it is.

    \b
    Examples:
      adcli plugin new my_model
      adcli plugin new line3 --kind dataset --out line3
      adcli plugin new weigh --kind command
    """
    from adcli._plugins.template import PluginNames, write_package

    names = PluginNames.parse(name)
    program = ctx.find_root().command
    if kind == "command" and isinstance(program, click.Group) and program.get_command(ctx, names.name) is not None:
        raise OptionError(f"name '{name}': '{names.name}' is a command of adcli itself; choose another.")
    folder = out or Path(names.distribution)
    files = write_package(names, kind, folder)
    print_fact("wrote", f"{folder} ({len(files)} files)")
    for step, line in _list_steps(names.name, kind, folder):
        print_fact(step, line)


def _list_steps(name: str, kind: Kind, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the commands to go on with."""
    place = folder if folder.is_absolute() or folder == Path() else f"./{folder}"
    yield "install", quote("pip", "install", "-e", f"{place}[test]")
    yield "test", quote("pytest", folder)
    yield "check", f"adcli plugin check {name}{' -d root=FOLDER' if kind == 'dataset' else ''}"
    yield "use", f"{_USE[kind].format(name=name, model=suggest_model())}"
