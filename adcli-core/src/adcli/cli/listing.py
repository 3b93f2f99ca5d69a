"""``adcli models``, ``datasets``, ``backbones``, ``exporters``, ``executors`` and ``plugins``: who provides what."""

from collections.abc import Collection, Sequence
from typing import Any

import click

from adcli._commands import quote
from adcli._plugins.registry import Names, Plugin, Provided, registry
from adcli.cli.console import apart, print_json, print_line, print_table, report_failed_plugins, safe
from adcli.cli.flags import Command, Group, json_flag, operand
from adcli.errors import PluginError, one_line
from adcli.options import BackboneOptions, OptionInfo, Options
from adcli.specs import DatasetSpec, Spec

FILES = {"folder": "FOLDER", "table": "table:FILE.csv"}
"""What ``--data`` takes for the data sets that are named by a path."""


@click.group(cls=Group, invoke_without_command=True)
@json_flag
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that can be trained."""
    if ctx.invoked_subcommand is None:
        _list(registry().models, ("task",), as_json)


@models.command("show")
@operand("name", "A model; 'adcli models' lists them.", complete="models")
@json_flag
def show_model(name: str, as_json: bool) -> None:
    """Show the options of a model, and a command to copy."""
    provided = registry().models[name]
    spec = provided.spec
    height, width = spec.image_size
    facts = {"task": spec.task, "paper": spec.paper, "image size": f"{height} x {width}"}
    facts["fits in"] = "one pass over the images" if spec.one_pass else "epochs"
    learns_more = {"always": "any run", "kept": "runs trained with --updatable"}
    if spec.updatable in learns_more:
        facts["learns more"] = learns_more[spec.updatable]
    if issubclass(spec.options, BackboneOptions):
        facts["stand-in"] = f"{spec.stand_in}, if the weights of the default backbone cannot be had"
    _show(provided, facts, spec.options, f"adcli train --model {name} --data FOLDER", "-o", as_json)


@click.group(cls=Group, invoke_without_command=True)
@json_flag
@click.pass_context
def datasets(ctx: click.Context, as_json: bool) -> None:
    """List the data sets that --data can name."""
    if ctx.invoked_subcommand is None:
        _list(registry().datasets, (), as_json)


@datasets.command("show")
@operand("name", "A data set; 'adcli datasets' lists them.", complete="datasets")
@json_flag
def show_dataset(name: str, as_json: bool) -> None:
    """Show the options of a data set, and a command to copy."""
    provided = registry().datasets[name]
    spec = provided.spec
    facts = {"paper": spec.paper, "licence": spec.licence, "source": spec.source}
    facts |= {"categories": ", ".join(spec.categories), "layout": spec.layout}
    command = f"adcli train --model {suggest_model()} --data {_name_reference(name, provided)}"
    _show(provided, facts, spec.options, command, "-d", as_json)


def suggest_model() -> str:
    """Return a model that is installed, for a command to copy: patchcore, else one that fits in one pass, else any."""
    offered = [provided.spec for provided in registry().models.offered]
    quick = sorted(offered, key=lambda spec: (spec.name != "patchcore", not spec.one_pass, spec.name))
    return quick[0].name if quick else "MODEL"


def _name_reference(name: str, provided: Provided[DatasetSpec]) -> str:
    """Return what ``--data`` takes for a data set, with the option that names its folder."""
    spec = provided.spec
    if spec.name in FILES:
        return FILES[spec.name]
    root = any(info.name == "root" for info in _describe_options(provided, spec.options))
    return (f"{name}:{spec.categories[0]}" if spec.categories else name) + (" -d root=FOLDER" if root else "")


@click.group(cls=Group, invoke_without_command=True)
@json_flag
@click.pass_context
def backbones(ctx: click.Context, as_json: bool) -> None:
    """List the backbones that --backbone can name."""
    if ctx.invoked_subcommand is None:
        _list(registry().backbones, ("layers", "licence"), as_json)


@backbones.command("show")
@operand("name", "A backbone, for example timm:resnet18; 'adcli backbones' lists them.", complete="backbones")
@json_flag
def show_backbone(name: str, as_json: bool) -> None:
    """Show the layers of a backbone, and which are used by default."""
    from adcli.pipeline import describe_backbone

    report_failed_plugins()
    with apart():
        found = describe_backbone(name)
    if as_json:
        print_json(found._asdict())
        return
    print_line(f"{name}: {found.summary}", 2)
    print_line(f"provider: {found.provider}", 2)
    strides = ", ".join(f"{stride:g}" for stride in dict.fromkeys(found.strides))
    count = "layers" if found.layers is None else f"{found.layers} {found.kind}s"
    print_line(f"layers: {count}, at {'stride' if len(set(found.strides)) == 1 else 'strides'} {strides}", 2)
    if found.default:
        chosen = ", ".join(f"{_text(layers)} ({number})" for number, layers in enumerate(found.default, 1))
        print_line(f"by default, by the number that a model wants: {chosen}; with the final norm", 2)
    click.echo(f"\nadcli train --model {suggest_model()} --data FOLDER --backbone {quote(name)}")


@click.group(cls=Group, invoke_without_command=True)
@json_flag
@click.pass_context
def exporters(ctx: click.Context, as_json: bool) -> None:
    """List the formats that runs can be exported to."""
    if ctx.invoked_subcommand is None:
        _list(registry().exporters, (), as_json)


@exporters.command("show")
@operand("name", "An exporter; 'adcli exporters' lists them.", complete="exporters")
@json_flag
def show_exporter(name: str, as_json: bool) -> None:
    """Show the options of an exporter, and a command to copy."""
    provided = registry().exporters[name]
    _show(provided, {}, provided.spec.options, f"adcli export last --to {name}", "-o", as_json)


@click.group(cls=Group, invoke_without_command=True)
@json_flag
@click.pass_context
def executors(ctx: click.Context, as_json: bool) -> None:
    """List what can make the runs of a sweep."""
    if ctx.invoked_subcommand is None:
        _list(registry().executors, (), as_json)


@executors.command("show")
@operand("name", "An executor; 'adcli executors' lists them.", complete="executors")
@json_flag
def show_executor(name: str, as_json: bool) -> None:
    """Show the options of an executor, and a command to copy."""
    provided = registry().executors[name]
    command = f"adcli sweep --model {suggest_model()} --data FOLDER --out DIR --executor {name}"
    _show(provided, {}, provided.spec.options, command, "-x", as_json)


@click.command(cls=Command)
@json_flag
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the plugins, and what to do about those that failed.

    \b
    In the environment:
      ADCLI_DISABLE=NAME,...   leave plugins out, by name
      ADCLI_TRACE=1            print the calls of plugins
    """
    # What adds commands is known, and may fail, only now.
    registry().commands(_own_commands(ctx))
    listed = [_describe_plugin(plugin) for plugin in registry().plugins]
    for warning in registry().warnings:
        click.echo(warning, err=True)
    if as_json:
        print_json(listed)
        return
    columns = ("name", "distribution", "version", "state", "provides", "load_ms")
    rows = [[_join(plugin[column]) for column in columns] for plugin in listed]
    print_table(columns, rows, "no plugins.", typed=("name", "state"))
    for text in filter(None, map(_describe_problem, registry().plugins)):
        for line in text.split("\n"):
            click.echo(safe(line))


def _own_commands(ctx: click.Context) -> Collection[str]:
    root = ctx.find_root().command
    return root.commands if isinstance(root, click.Group) else ()


def _describe_plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": "disabled" if plugin.disabled else "failed" if plugin.error else "ok",
        "provides": registry().provides(plugin),
        "load_ms": round(plugin.load_seconds * 1000, 1),
        "error": plugin.error,
        "remedy": plugin.remedy or None,
        "warning": plugin.warning or None,
    }


def _join(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _describe_problem(plugin: Plugin) -> str:
    """Return what is wrong with a plugin and what to do about it, or nothing."""
    failed = f"{plugin} failed: {plugin.error}\n  {plugin.remedy}" if plugin.error else ""
    warned = f"{plugin} {plugin.warning}" if plugin.warning and not plugin.disabled else ""
    return "\n".join(filter(None, (failed, warned)))


def _list(names: Names[Any], extra: tuple[str, ...], as_json: bool) -> None:
    report_failed_plugins()
    offered: list[Provided[Spec]] = sorted(
        names.offered, key=lambda provided: (provided.spec.name, provided.plugin.key)
    )
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
    columns = ("name", *extra, "provider", "summary")
    empty = f"no {names.kind} installed; plugins offer them, see 'adcli plugins'."
    print_table(columns, [[str(item[column]) for column in columns] for item in listed], empty, typed=("name",))


def _show(
    provided: Provided[Any], facts: dict[str, str], options: type[Options], command: str, flag: str, as_json: bool
) -> None:
    report_failed_plugins()
    described = _describe_options(provided, options)
    if as_json:
        listed = [info._asdict() for info in described]
        spec = provided.spec
        print_json(
            {"name": spec.name, "summary": spec.summary, "provider": str(provided.plugin), **facts, "options": listed}
        )
        return
    for name, value in {provided.spec.name: provided.spec.summary, "provider": str(provided.plugin), **facts}.items():
        if value:
            lines = value.rstrip("\n").split("\n")
            for line in [f"{name}: {value}"] if len(lines) == 1 else [f"{name}:", *(f"  {line}" for line in lines)]:
                print_line(line, 2)
    click.echo("")
    rows = [[info.name, info.type, _text(info.default), info.allowed, info.help] for info in described]
    print_table(
        ("option", "type", "default", "allowed", "help"),
        rows,
        "It has no options.",
        typed=("option", "type", "default", "allowed"),
    )
    example = _example(options, described) if flag != "-d" else ""
    click.echo(f"\n{command}{example and f' {flag} {example}'}")


def _example(options: type[Options], described: Sequence[OptionInfo]) -> str:
    """Return the first option of its own that can be given as it is by default; a named backbone may not be there."""
    shared = {info.name for info in BackboneOptions.describe()}
    for info in described:
        text = _text(info.default)
        if info.name not in shared and info.default is not None and text == "".join(text.split()):
            return f"{info.name}={quote(text)}"
    return ""


def _describe_options(provided: Provided[Any], options: type[Options]) -> list[OptionInfo]:
    try:
        return options.describe()
    except Exception as error:  # annotations are evaluated here, and may name anything
        who = f"'{provided.spec.name}' of {provided.plugin}"
        raise PluginError(f"{who}: its options cannot be described ({one_line(error)}).") from error


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
