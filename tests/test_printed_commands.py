"""Commands that adcli prints work where they are pasted."""

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support import Adcli

from adcli._plugins.registry import registry
from adcli.cli import cli

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("adcli-core/src/adcli/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
HOLE = "X"
"""What stands for the values in a message."""

MENTIONED = {
    "adcli bench",
    "adcli calibrate",
    "adcli compare",
    "adcli drift",
    "adcli evaluate",
    "adcli plugin new",
    "adcli predict",
    "adcli preview",
    "adcli qualify",
    "adcli update",
}
"""What sentences speak about, and do not ask anyone to type."""

PRINTED = re.compile(
    r"'(adcli [a-z][^']*)'"  # in the middle of a sentence
    r"|(?:: |\()(adcli [a-z].*?)(?=[;)]|\.?$|    )"  # at its end, or in brackets
    r"|^ *(adcli [a-z].*?)(?=  | \||$)",  # alone in a line, perhaps with an explanation
    re.MULTILINE,
)


def find_commands(text: str) -> list[str]:
    return [next(filter(None, groups)) for groups in PRINTED.findall(text)]


def join_text(node: ast.AST) -> str:
    """Return a literal text of the source, with a word for each value that is put into it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(join_text, node.values))
    if isinstance(node, ast.Constant):
        return re.sub(r"{\w+}", HOLE, node.value) if isinstance(node.value, str) else ""
    return HOLE


def find_texts(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and node not in inner:
            yield join_text(node)


def parse(line: str) -> click.Context:
    """Return what click makes of a command line; raises if it would refuse it."""
    name, *words = shlex.split(line)
    assert name == "adcli"
    command, context = cli, click.Context(cli, info_name="adcli")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if words == ["--help"]:
        return click.Context(command, parent=context.parent)
    return command.make_context(str(command.name), words, parent=context.parent)


def is_known(word: str, names: object) -> bool:
    """Tell whether a word is one of the names, or stands for one."""
    return word == HOLE or word.isupper() or word in list(names)  # type: ignore[call-overload]


FOUND = {command for path in SOURCES for text in find_texts(path) for command in find_commands(text)}
WRITTEN = sorted(FOUND - MENTIONED)


@pytest.mark.parametrize("line", WRITTEN)
def test_every_command_in_a_message_can_be_typed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Folders that are read have to be there.
    (tmp_path / "masters").mkdir()
    given = parse(line).params
    for model in (given.get("model") or HOLE).split(","):
        assert is_known(model, registry().models)
    assert is_known(given.get("to") or HOLE, registry().exporters)


def test_commands_are_found_in_texts_and_wrong_ones_refused() -> None:
    text = "see 'adcli models'; look (adcli report a --open) or type: adcli predict 'my run' IMAGES"
    assert find_commands(text) == ["adcli models", "adcli report a --open", "adcli predict 'my run' IMAGES"]
    assert find_commands("      adcli train -m padim   good parts\n") == ["adcli train -m padim"]
    assert len(WRITTEN) > 20
    for wrong in ("adcli model", "adcli train --modle x", "adcli models show", "adcli train -m padim --seed many"):
        with pytest.raises(click.ClickException):
            parse(wrong)


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["models", "datasets", "exporters"])
def test_the_command_that_show_ends_with_gives_options_that_fit(adcli: Adcli, kind: str) -> None:
    names = registry().by_kind[kind[:-1]]  # type: ignore[index]
    for provided in names.offered:
        name = provided.spec.name
        given = parse(last_line(adcli(kind, "show", name).out)).params
        options = given["data_options"] if kind == "datasets" else given["options"]
        # A backbone that is named is never replaced, and may not be there.
        assert "backbone" not in options
        provided.spec.options.parse(options)


def paste(adcli: Adcli, line: str, **words: object) -> str:
    """Run a command as it was printed, with something in place of its capitals; return what it prints."""
    filled = [str(words.get(word, word)) for word in shlex.split(line) if word != "--open"]
    outcome = adcli(*filled[1:])
    assert outcome.code == 0, (line, outcome)
    return outcome.out


@pytest.mark.thorough
@pytest.mark.slow
def test_what_models_show_prints_trains_offline(adcli: Adcli, parts: Path) -> None:
    line = last_line(adcli("models", "show", "dfm").out)
    assert "run" in paste(adcli, f"{line} --image-size 64", FOLDER=parts)


def test_what_a_command_says_to_go_on_with_works_beside_folders_with_spaces(
    adcli: Adcli, parts: Path, tmp_path: Path
) -> None:
    shutil.copytree(parts, "my parts")
    quick = ("-m", "dfm", "--backbone", "random:resnet18", "-o", "layers=2", "--image-size", 32)
    trained = adcli("train", "--data", "my parts", "--out", "my runs/my run", *quick).out
    facts = dict(re.findall(r"^(\w+(?: \w+)?) +(.*)$", trained, re.MULTILINE))
    page, command = re.fullmatch(r"(.*?) {4}\((.*)\)", facts["look at"]).groups()  # type: ignore[union-attr]
    assert Path(page).is_file()
    assert Path(paste(adcli, command).strip()) == Path(page)
    assert "good" in paste(adcli, facts["go on"], IMAGES="my parts/test")
    refused = adcli("predict", "my runs/my run").err
    paste(adcli, refused.partition("too: ")[2].strip(), IMAGES="my parts/test")
    calibrated = adcli("calibrate", "my runs/my run", "--data", "my parts/test/good").out
    paste(adcli, re.search(r"^go on +(.*?) {4}", calibrated, re.MULTILINE)[1])  # type: ignore[index]
