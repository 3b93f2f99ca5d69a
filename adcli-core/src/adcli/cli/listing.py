"""``adcli models``, ``datasets``, ``backbones``, ``exporters`` and ``plugins``: who provides what."""

from typing import Any

import click

from adcli.cli.console import print_json, print_table, report_failed_plugins
from adcli.options import Options
from adcli.registry import Names, Plugin, Provided, registry
from adcli.specs import Spec

_json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(invoke_without_command=True)
@_json_flag
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that can be trained."""
    if ctx.invoked_subcommand is None:
        _list(registry().models, ("task",), as_json)


@models.command("show")
@click.argument("name")
@_json_flag
def show_model(name: str, as_json: bool) -> None:
    """Show a model's options with type, default and allowed values, and a command to copy."""
    provided = registry().models[name]
    spec = provided.spec
    height, width = spec.image_size
    facts = {"task": spec.task, "paper": spec.paper, "image size": f"{height} x {width}"}
    facts["fits in"] = "one pass over the images" if spec.one_pass else "epochs"
    _show(provided, facts, spec.options, f"adcli train --model {name} --data FOLDER", "-o", as_json)


@click.group(invoke_without_command=True)
@_json_flag
@click.pass_context
def datasets(ctx: click.Context, as_json: bool) -> None:
    """List the data sets that --data can name."""
    if ctx.invoked_subcommand is None:
        _list(registry().datasets, (), as_json)


@datasets.command("show")
@click.argument("name")
@_json_flag
def show_dataset(name: str, as_json: bool) -> None:
    """Show a data set's options and categories, and a command to copy."""
    provided = registry().datasets[name]
    spec = provided.spec
    facts = {"paper": spec.paper, "categories": ", ".join(spec.categories)}
    reference = "FOLDER" if name == "folder" else f"{name}:{spec.categories[0]}" if spec.categories else name
    _show(provided, facts, spec.options, f"adcli train --model patchcore --data {reference}", "-d", as_json)


@click.command()
@_json_flag
def backbones(as_json: bool) -> None:
    """List the backbones that --backbone can name."""
    _list(registry().backbones, ("licence",), as_json)


@click.group(invoke_without_command=True)
@_json_flag
@click.pass_context
def exporters(ctx: click.Context, as_json: bool) -> None:
    """List the formats that runs can be exported to."""
    if ctx.invoked_subcommand is None:
        _list(registry().exporters, (), as_json)


@exporters.command("show")
@click.argument("name")
@_json_flag
def show_exporter(name: str, as_json: bool) -> None:
    """Show an exporter's options with type, default and allowed values, and a command to copy."""
    provided = registry().exporters[name]
    _show(provided, {}, provided.spec.options, f"adcli export last --to {name}", "-o", as_json)


@click.command()
@_json_flag
def plugins(as_json: bool) -> None:
    """List the plugins, and why any of them failed."""
    listed = [_describe_plugin(plugin) for plugin in registry().plugins]
    if as_json:
        print_json(listed)
        return
    columns = ("name", "distribution", "version", "provides", "load_ms", "error")
    print_table(columns, [[str(plugin[column] or "") for column in columns] for plugin in listed], "no plugins.")


def _describe_plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "provides": ", ".join(spec.name for spec in plugin.specs),
        "load_ms": round(plugin.load_seconds * 1000, 1),
        "error": plugin.error,
    }


def _list(names: Names[Any], extra: tuple[str, ...], as_json: bool) -> None:
    offered: list[Provided[Spec]] = sorted(names.offered, key=lambda provided: provided.spec.name)
    listed = [
        {
            "name": provided.spec.name,
            **{field: getattr(provided.spec, field) for field in extra},
            "provider": str(provided.plugin),
            "summary": provided.spec.summary,
        }
        for provided in offered
    ]
    if as_json:
        print_json(listed)
        return
    report_failed_plugins()
    columns = ("name", *extra, "provider", "summary")
    empty = f"no {names.kind} installed; plugins offer them, see 'adcli plugins'."
    print_table(columns, [[str(item[column]) for column in columns] for item in listed], empty)


def _show(
    provided: Provided[Any], facts: dict[str, str], options: type[Options], command: str, flag: str, as_json: bool
) -> None:
    described = options.describe()
    if as_json:
        listed = [vars(info) for info in described]
        spec = provided.spec
        print_json(
            {"name": spec.name, "summary": spec.summary, "provider": str(provided.plugin), **facts, "options": listed}
        )
        return
    click.echo(f"{provided.spec.name}: {provided.spec.summary}\nprovider: {provided.plugin}")
    for name, value in facts.items():
        if value:
            click.echo(f"{name}: {value}")
    click.echo("")
    rows = [[info.name, info.type, _text(info.default), info.allowed, info.help] for info in described]
    print_table(("option", "type", "default", "allowed", "help"), rows, "It has no options.")
    example = f" {flag} {described[0].name}={_text(described[0].default)}" if described and flag == "-o" else ""
    click.echo(f"\n{command}{example}")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
