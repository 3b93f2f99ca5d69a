"""``adcli plugin``: writing a plugin, and checking that it keeps the rules."""

from collections.abc import Iterator
from pathlib import Path

import click

from adcli._plugins.registry import registry
from adcli.cli.console import parse_pairs, print_json, report_failed_plugins
from adcli.errors import AdcliError, DataError, OptionError, PluginError, needing_torch
from adcli.testing import KINDS, Checked, Kind, Result, check_plugin, names_by_kind

_USE = {
    "model": "adcli train --model {name}",
    "dataset": "adcli train --model {model} --data {name} -d root=FOLDER",
}


@click.group()
def plugin() -> None:
    """Write a plugin, and check that it keeps the rules."""


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="What NAME is, where its name is that of several kinds.")
@click.option("-d", "data_options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Data set option.")
@click.option(
    "-o", "options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Option of a model or exporter."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(name: str, kind: Kind | None, data_options: dict[str, str], options: dict[str, str], as_json: bool) -> int:
    """Check that a model, data set, backbone or exporter keeps every rule for its kind.

    NAME is what --model, --data, --backbone or --to take. A model is fitted to a dozen small images with its quick
    options, an exporter exports a small model, and a data set is loaded with the options given. Where a rule is
    broken, the exit code is 6.

    \b
    Examples:
      adcli plugin check my_model
      adcli plugin check line3 -d root=/archive/line3
      adcli plugin check timm:resnet18.tv_in1k
    """
    report_failed_plugins()
    checked = _what_is_checked(name, kind, data_options, options)
    with needing_torch():
        rules = checked.rules()
    results = []
    for result in check_plugin(checked):
        results.append(result)
        if not as_json:
            _print_result(result, max(map(len, rules)))
    failed = [result.rule for result in results if result.problem]
    if as_json:
        listed = [vars(result) for result in results]
        print_json({"name": name, "kind": checked.kind, "rules": listed, "failed": failed})
    else:
        _print_summary(checked, results, failed)
    return PluginError.exit_code if failed else 0


def _what_is_checked(name: str, kind: Kind | None, data_options: dict[str, str], options: dict[str, str]) -> Checked:
    """Return what to check, with its options parsed once, so that a wrong one is one line and no broken rule."""
    checked = Checked(name, kind)
    if data_options and checked.kind != "dataset":
        raise OptionError(f"-d is for data sets, and '{name}' is a {checked.kind}.")
    if options and checked.kind not in ("model", "exporter"):
        raise OptionError(f"-o is for models and exporters, and '{name}' is a {checked.kind}.")
    if checked.kind == "backbone":
        _make_once(checked)
        return checked
    checked = Checked(name, checked.kind, data_options or options)
    assert checked.kind is not None
    names_by_kind()[checked.kind][name].spec.options.parse(checked.options or {})
    if checked.kind == "dataset" and not data_options:
        _load_without_options(checked)
    return checked


def _make_once(checked: Checked) -> None:
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


def _load_without_options(checked: Checked) -> None:
    """Load a data set once: the lack of a folder is one line, and no broken rules."""
    try:
        checked.subject().load()
    except (OptionError, DataError) as error:
        words = error.format_message()
        raise OptionError(f"data set '{checked.name}' needs options to load: {words} Give them with -d.") from None
    except Exception:
        return  # which the rules report


def _print_result(result: Result, width: int) -> None:
    verdict = f"FAILED  {result.problem[:400]}" if result.problem else "ok"
    click.echo(f"{result.rule:<{width}}  {result.seconds:5.1f} s  {verdict}")


def _print_summary(checked: Checked, results: list[Result], failed: list[str]) -> None:
    seconds = sum(result.seconds for result in results)
    kept = f"{checked.kind} '{checked.name}' keeps {len(results) - len(failed)} of {len(results)} rules"
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    broken = f", breaks {', '.join(failed[:3])}{more}" if failed else ""
    click.echo(f"{kept}{broken} ({seconds:.0f} s)")


@plugin.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="model",
    metavar="[model|dataset]",
    help="What the plugin offers (model).",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The package's folder (adcli-NAME).")
def new(name: str, kind: Kind, out: Path | None) -> None:
    """Write a complete package for a plugin, which works and passes its tests as it is.

    NAME is what users will type, such as my_model; the package is adcli-my-model, imported as adcli_my_model.

    \b
    Examples:
      adcli plugin new my_model
      adcli plugin new line3 --kind dataset --out plugins/line3
    """
    from adcli._plugins.template import PluginNames, write_package

    names = PluginNames.parse(name)
    folder = out or Path(names.distribution)
    files = write_package(names, kind, folder)
    click.echo(f"wrote      {folder} ({len(files)} files)")
    for line in _next_steps(names.name, kind, folder):
        click.echo(line)


def _next_steps(name: str, kind: Kind, folder: Path) -> Iterator[str]:
    """Yield the commands to go on with."""
    place = folder if folder.is_absolute() or folder == Path() else f"./{folder}"
    yield f'install    pip install -e "{place}[test]"'
    yield f"test       pytest {folder}"
    yield f"check      adcli plugin check {name}{' -d root=FOLDER' if kind == 'dataset' else ''}"
    yield f"use        {_USE[kind].format(name=name, model=next(iter(registry().models), 'MODEL'))}"
