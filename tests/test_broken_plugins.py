"""A broken plugin costs one line on stderr: nothing of it is used, and everything else works."""

import json
import os
from pathlib import Path

import pytest
from plugins_on_disk import MODEL, install, run
from support import THIRD_PARTY, assert_one_line

from adcli import install_command

RETURNS = "from adcli import ModelSpec, Options, hookimpl\n@hookimpl\ndef adcli_models():\n    {body}\n"
SPEC = 'ModelSpec(name="shaky", target="shaky.model:Model", options=Options, summary="a model")'


def spec_with(**fields: str) -> str:
    """Return a module that offers a spec with some fields wrong."""
    right = {"name": "'shaky'", "target": "'shaky.model:Model'", "options": "Options", "summary": "'a model'"}
    written = ", ".join(f"{name}={value}" for name, value in {**right, **fields}.items())
    return RETURNS.format(body=f"return [ModelSpec({written})]")


BROKEN = {
    "raises": ("raise RuntimeError('no luck\\ntoday')", "RuntimeError: no luck today"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "is_no_python": ("def adcli_models(:\n", "SyntaxError"),
    "lacks_a_module": ("import no_such_module", "No module named 'no_such_module'"),
    "lacks_a_name": ("from adcli import NoSuchSpec", "cannot import name 'NoSuchSpec'"),
    "raises_what_is_no_exception": ("class Odd(BaseException):\n    pass\nraise Odd('odd')", "Odd: odd"),
    "unknown_hook": ("from adcli import hookimpl\n@hookimpl\ndef adcli_model():\n    return []", "'adcli_models'?"),
    "wrapper": (
        "import pluggy\n@pluggy.HookimplMarker('adcli')(wrapper=True)\ndef adcli_models():\n    return (yield)",
        "wrappers like its 'adcli_models' are not supported",
    ),
    "extra_argument": (
        "from adcli import hookimpl\n@hookimpl\ndef adcli_models(cli):\n    return []",
        "adcli_models(cli) Argument(s) {'cli'} are declared in the hookimpl but can not be found",
    ),
    "wrong_argument": (
        "from adcli import hookimpl\n@hookimpl\ndef adcli_run_finished(folder):\n    pass",
        "adcli_run_finished(folder) Argument(s) {'folder'} are declared in the hookimpl",
    ),
    "hook_raises": (RETURNS.format(body="return 1 / 0"), "ZeroDivisionError"),
    "hook_exits": (RETURNS.format(body="raise SystemExit(0)"), "SystemExit: 0"),
    "returns_none": (RETURNS.format(body="return None"), "adcli_models returned None instead of a list of ModelSpec"),
    "returns_a_dict": (RETURNS.format(body=f"return {{'shaky': {SPEC}}}"), "instead of a list of ModelSpec"),
    "returns_a_text": (RETURNS.format(body="return 'shaky'"), "returned 'shaky' instead of a list of ModelSpec"),
    "returns_numbers": (RETURNS.format(body=f"return [{SPEC}, 42]"), "returned 42 instead of a ModelSpec"),
    "returns_the_class": (RETURNS.format(body="return [ModelSpec]"), "instead of a ModelSpec"),
    "returns_halfway": (RETURNS.format(body=f"yield {SPEC}\n    raise OSError('torn')"), "OSError: torn"),
    "returns_one_twice": (RETURNS.format(body=f"return [{SPEC}, {SPEC}]"), "two specs with the name 'shaky'"),
    "name_is_a_number": (spec_with(name="3"), "name is 3; it needs one word"),
    "name_has_a_slash": (spec_with(name="'a/b'"), "name is 'a/b'; it needs one word"),
    "name_is_empty": (spec_with(name="''"), "name is ''; it needs one word"),
    "target_is_a_path": (spec_with(target="'shaky/model.py'"), "target is 'shaky/model.py'; it needs 'package.module:"),
    "target_is_a_class": (spec_with(target="Options"), "it needs 'package.module:Name'"),
    "options_are_a_dict": (spec_with(options="{}"), "options is {}; it needs a class derived from Options"),
    "options_are_another_class": (spec_with(options="int"), "it needs a class derived from Options"),
    "options_are_an_instance": (spec_with(options="Options()"), "it needs a class derived from Options"),
    "summary_is_none": (spec_with(summary="None"), "summary is None; it needs text"),
    "task_is_unknown": (spec_with(task="'counting'"), "task is 'counting'; it needs segmentation or classification"),
    "task_is_a_list": (spec_with(task="[]"), "task is []; it needs segmentation"),
    "image_size_is_one_number": (spec_with(image_size="256"), "image_size is 256; it needs height and width"),
    "demo_is_a_list": (spec_with(demo="[1]"), "demo is [1]; it needs a mapping"),
    "a_field_is_missing": (RETURNS.format(body="return [ModelSpec(name='shaky')]"), "TypeError"),
    "a_field_is_unknown": (spec_with(colour="'red'"), "unexpected keyword argument 'colour'"),
}


def write_sound_and_broken(site: Path, code: str) -> None:
    install(site, "adcli-sound", MODEL.format(model="sound", module="adcli_sound"))
    install(site, "adcli-broken", code, version="0.3")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_one_line_and_the_others_work(kind: str, tmp_path: Path) -> None:
    code, reason = BROKEN[kind]
    write_sound_and_broken(tmp_path, code)
    listed = run(tmp_path, "models", "--json")
    assert listed.code == 0
    names = [model["name"] for model in json.loads(listed.out)]
    assert "sound" in names
    assert "shaky" not in names
    (line,) = listed.err.splitlines()
    assert line.startswith("warning: plugin adcli-broken 0.3 failed: ")
    assert reason in line
    assert len(line) < 450


@pytest.mark.parametrize("kind", ["raises", "exits", "returns_none"])
def test_help_says_nothing_of_plugins_that_have_nothing_to_do_with_it(kind: str, tmp_path: Path) -> None:
    write_sound_and_broken(tmp_path, BROKEN[kind][0])
    helped = run(tmp_path, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert "Start here" in helped.out


def test_an_interrupt_while_plugins_load_ends_the_program(tmp_path: Path) -> None:
    write_sound_and_broken(tmp_path, "raise KeyboardInterrupt")
    assert run(tmp_path, "models").code == 130


def test_what_a_plugin_prints_does_not_spoil_json(tmp_path: Path) -> None:
    install(tmp_path, "adcli-loud", "print('hello\\nthere')\n" + MODEL.format(model="loud", module="adcli_loud"))
    listed = run(tmp_path, "models", "--json")
    assert "loud" in [model["name"] for model in json.loads(listed.out)]
    (line,) = listed.err.splitlines()
    assert line == "warning: plugin adcli-loud 1.0 printed to stdout while it was loaded ('hello there')"


LOUD = """
import torch
from adcli import ModelSpec, Options, hookimpl
from adcli.nn.model import Model, Scores


@hookimpl
def adcli_models():
    return [ModelSpec(name="loud", target="adcli_loud:Loud", options=Options, summary="a model that prints")]


class Loud(Model):
    def __init__(self, options, *, image_size, pretrained=True):
        super().__init__(options, image_size=image_size)
        self.register_buffer("mean", torch.zeros(3, *image_size))
        print("made")

    def fit(self, batches):
        print("fitting")
        self.mean = torch.cat(list(batches)).mean(0)

    def forward(self, images):
        print("scoring")
        map = (images - self.mean).abs().mean(1, keepdim=True)
        return Scores(map.amax((1, 2, 3)), map)
"""


@pytest.mark.thorough
def test_what_a_model_prints_goes_to_stderr_whatever_it_is_asked(parts: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "adcli-loud", LOUD)
    train = ("train", "--model", "loud", "--data", parts, "--image-size", 64, "--out", "runs/loud", "--json")
    asked = {
        train: ("made", "fitting", "scoring"),
        ("evaluate", "runs/loud", "--json"): ("made", "scoring"),
        ("predict", "runs/loud", parts / "test", "--json"): ("made", "scoring"),
        ("plugin", "check", "loud", "--json"): ("made", "fitting", "scoring"),
    }
    for arguments, printed in asked.items():
        outcome = run(site, *arguments, cwd=tmp_path)
        assert json.loads(outcome.out), outcome
        assert {*printed} <= {*outcome.err.splitlines()}, outcome


UPGRADE_BOTH = install_command("adcli-core", "adcli-broken", flags=["--upgrade"])


@pytest.mark.parametrize(
    ("code", "extra", "remedy"),
    [
        ("from adcli import Thing", {"needs": ("adcli-core>=99",)}, UPGRADE_BOTH),
        ("import adcli.gone", {}, UPGRADE_BOTH),
        ("import no_such_module", {}, "the package that has 'no_such_module'"),
        (
            "import no_such_module",
            {"needs": ("no-such-package>=2",)},
            "add what it requires: pip install adcli-broken;",
        ),
        ("import adcli_broken.gone", {}, "pip install --force-reinstall --no-deps adcli-broken"),
        ("def (", {}, "pip install --force-reinstall --no-deps adcli-broken"),
        ("def (", {"metadata": "Requires-Python: >=4\n"}, "it needs Python >=4, this is 3."),
        ("raise RuntimeError('no')", {}, "pip install --upgrade adcli-broken"),
    ],
)
def test_plugins_says_what_to_do(code: str, extra: dict, remedy: str, tmp_path: Path) -> None:
    install(tmp_path, "adcli-broken", code, **extra)
    outcome = run(tmp_path, "plugins", "--json")
    (plugin,) = [plugin for plugin in json.loads(outcome.out) if plugin["name"] == "adcli_broken"]
    assert plugin["state"] == "failed"
    assert plugin["provides"] == []
    assert remedy in plugin["remedy"]
    assert "ADCLI_DISABLE=adcli_broken" in plugin["remedy"]
    assert plugin["remedy"] in run(tmp_path, "plugins").out
    disabled = run(tmp_path, "models", environment={"ADCLI_DISABLE": "adcli_broken"})
    assert (disabled.code, disabled.err) == (0, "")


def test_a_syntax_error_of_an_editable_package_names_file_and_line_and_is_mended_there(tmp_path: Path) -> None:
    site, checkout = tmp_path / "site", tmp_path / "my-broken"
    install(site, "adcli-broken", "")
    (site / "adcli_broken.py").unlink()
    checkout.mkdir()
    (checkout / "adcli_broken.py").write_text("import math\n\ndef adcli_models(:\n    pass\n")
    origin = {"url": checkout.as_uri(), "dir_info": {"editable": True}}
    (site / "adcli_broken-1.0.dist-info/direct_url.json").write_text(json.dumps(origin))
    (plugin,) = _list_broken(site, checkout)
    assert plugin["error"] == (f"SyntaxError: invalid syntax, {checkout / 'adcli_broken.py'}:3: def adcli_models(:")
    assert plugin["remedy"].startswith(f"mend it in {checkout}")
    # Nor is a package to be installed again whose code lies where no installer has put it.
    (site / "adcli_broken-1.0.dist-info/direct_url.json").unlink()
    (plugin,) = _list_broken(site, checkout)
    assert plugin["remedy"].startswith(f"mend {checkout / 'adcli_broken.py'}")


def _list_broken(site: Path, checkout: Path) -> list[dict]:
    listed = run(
        site, "plugins", "--json", environment={"PYTHONPATH": f"{site}:{checkout}:{os.environ.get('PYTHONPATH', '')}"}
    )
    return [plugin for plugin in json.loads(listed.out) if plugin["name"] == "adcli_broken"]


COMMANDS = "import click\nfrom adcli import hookimpl\n@hookimpl\ndef adcli_commands(cli):\n    {body}\n"
HELLO = COMMANDS.format(body="@cli.command()\n    def hello():\n        'Say hello.'\n        click.echo('hello')")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('down')", "adcli_commands raised ValueError: down"),
        ("raise SystemExit(1)", "adcli_commands raised SystemExit: 1"),
        ("cli.add_command(click.Command('train'))", "adcli_commands adds 'train'"),
        ("cli.add_command(click.Command('hello'))", "adcli_commands adds 'hello'"),
        ("cli.commands['odd'] = 42", "adcli_commands adds 'odd' (42), which is not a click command"),
        ("cli.add_command(print)", "AttributeError"),
    ],
)
def test_commands_that_cannot_be_added_are_one_line(body: str, reason: str, tmp_path: Path) -> None:
    install(tmp_path, "adcli-a-hello", HELLO)
    install(tmp_path, "adcli-broken", COMMANDS.format(body=f"cli.command('fine')(print)\n    {body}"), version="0.3")
    helped = run(tmp_path, "--help")
    assert helped.code == 0
    assert "Say hello." in helped.out
    assert "fine" not in helped.out
    assert "Learn from good images" in helped.out
    (line,) = helped.err.splitlines()
    assert line.startswith("warning: plugin adcli-broken 0.3 failed: ")
    assert reason in line
    said = run(tmp_path, "hello")
    assert (said.code, said.out) == (0, "hello\n")
    assert run(tmp_path, "train", "--help").err == ""


def test_plugins_lists_commands_and_those_that_failed(tmp_path: Path) -> None:
    listener = "\n\n\n@hookimpl\ndef adcli_run_finished(run):\n    pass\n"
    install(tmp_path, "adcli-hello", HELLO + listener)
    install(tmp_path, "adcli-broken", COMMANDS.format(body="raise ValueError('down')"))
    by_name = {plugin["name"]: plugin for plugin in json.loads(run(tmp_path, "plugins", "--json").out)}
    assert by_name["adcli_hello"]["provides"] == ["command hello", "hook adcli_run_finished"]
    assert by_name["patchcore"]["provides"] == ["model patchcore"]
    assert by_name["adcli_broken"]["error"] == "adcli_commands raised ValueError: down, adcli_broken.py:5"


@pytest.mark.parametrize(("raised", "code"), [("KeyError('x')", 6), ("click.UsageError('no such thing')", 2)])
def test_a_command_that_fails_is_one_line(raised: str, code: int, tmp_path: Path) -> None:
    install(tmp_path, "adcli-hello", HELLO.replace("click.echo('hello')", f"raise {raised}"))
    said = run(tmp_path, "hello")
    assert said.code == code
    assert "Traceback" not in said.err
    if code == 6:
        assert_one_line(said, 6, "command 'hello' of adcli-hello 1.0 failed (KeyError: 'x', adcli_hello.py:8)")


DATASET = """
from adcli import BackboneSpec, DatasetSpec, ModelSpec, Options, hookimpl, option


class WrongOptions(Options):
    size: "NoSuchType" = option(1, "A size.")


@hookimpl
def adcli_datasets():
    return [DatasetSpec(name="shaky", target="adcli_shaky:load", options=Options, summary="a data set")]


@hookimpl
def adcli_models():
    return [
        ModelSpec(name="shaky", target="shaky_model:Shaky", options=Options, summary="a model"),
        ModelSpec(name="wrong", target="shaky_model:Shaky", options=WrongOptions, summary="a model"),
        ModelSpec(name="exits", target="shaky_exits:Shaky", options=Options, summary="a model"),
    ]


@hookimpl
def adcli_backbones():
    return [BackboneSpec(name="shaky", target="adcli_shaky:load", summary="a backbone")]


def load(first, second):
    print("loading")
    raise LookupError("torn")
"""
SHAKY_MODEL = """
from adcli.nn.model import Model


class Shaky(Model):
    def __init__(self, options, *, image_size, pretrained=True):
        raise ArithmeticError("no such root")

    def fit(self, batches): ...

    def forward(self, images): ...
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--model", "padim", "--data", "shaky"), "it cannot be read (LookupError: torn, adcli_shaky.py:30)"),
        (
            ("train", "--model", "shaky", "--data", "{parts}"),
            "it cannot be made (ArithmeticError: no such root, shaky_model.py:7)",
        ),
        (
            ("train", "--model", "dfm", "--backbone", "shaky", "--data", "{parts}"),
            "it cannot be made (LookupError: torn, adcli_shaky.py:30)",
        ),
        (
            ("train", "--model", "exits", "--data", "{parts}"),
            "shaky_exits:Shaky cannot be loaded (SystemExit: 3, shaky_exits.py:1)",
        ),
        (("models", "show", "wrong"), "its options cannot be described (NameError: name 'NoSuchType'"),
    ],
)
def test_code_that_fails_when_it_is_used_is_one_line(
    arguments: tuple[str, ...], words: str, parts: Path, tmp_path: Path
) -> None:
    install(tmp_path, "adcli-shaky", DATASET)
    (tmp_path / "shaky_model.py").write_text(SHAKY_MODEL)
    (tmp_path / "shaky_exits.py").write_text("raise SystemExit(3)")
    outcome = run(tmp_path, *(argument.format(parts=parts) for argument in arguments))
    assert_one_line(outcome, 6, "of adcli-shaky 1.0: ", words)
    assert outcome.out == ""


UNSHAPED = """
from adcli import ModelSpec, Options, hookimpl
from adcli.nn.model import Model, Scores


@hookimpl
def adcli_models():
    return [ModelSpec(name="unshaped", target="adcli_unshaped:Unshaped", options=Options, summary="a model")]


class Unshaped(Model):
    def fit(self, batches): {fit}

    def forward(self, images):
        return Scores(images.no_such_thing)
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fit", "words"),
    [("...", "failed to score (AttributeError: 'Tensor' "), ("1 / 0", "failed to fit (ZeroDivisionError: ")],
)
def test_a_model_that_raises_is_one_line_that_says_where_and_leaves_no_finished_run(
    fit: str, words: str, parts: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "adcli-unshaped", UNSHAPED.format(fit=fit))
    where = "images.no_such_thing" if fit == "..." else "def fit"
    line = next(number for number, text in enumerate(UNSHAPED.splitlines(), 1) if where in text)
    command = ("train", "--model", "unshaped", "--data", parts, "--image-size", 64)
    outcome = run(site, *command, cwd=tmp_path)
    assert_one_line(outcome, 6, words, f"adcli_unshaped.py:{line})")
    assert [path.name for path in tmp_path.iterdir()] in (["site"], ["site", "runs"], ["runs", "site"])
    # A fit that is over is kept, to go on with once the plugin is mended.
    kept = [path.name for path in (tmp_path / "runs").glob("*")]
    assert kept == ([".partial"] if fit == "..." else [])
    traced = run(site, *command, cwd=tmp_path, environment={"ADCLI_TRACE": "1"})
    assert "Traceback (most recent call last)" in traced.err


@pytest.mark.thorough
def test_training_goes_on_beside_broken_plugins_and_keeps_the_run_when_a_listener_fails(
    parts: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install(site, "adcli-broken", "raise SystemExit(0)", version="0.3")
    listener = "from adcli import hookimpl\n@hookimpl\ndef adcli_run_finished(run):\n    print(run.path)\n    {body}\n"
    install(site, "adcli-listener", listener.format(body="raise SystemExit('down')"))
    trained = run(
        site,
        *("train", "--model", "adcli-mean/mean_image", "--data", parts, "--image-size", 64, "--json"),
        cwd=tmp_path,
        environment={"PYTHONPATH": f"{site}:{THIRD_PARTY}"},
    )
    assert trained.code == 0, trained.err
    folder = tmp_path / json.loads(trained.out)["run"]
    assert (folder / "run.yaml").is_file()
    assert folder.parent.name == "runs"
    warnings = [line for line in trained.err.splitlines() if line.startswith("warning: plugin")]
    assert warnings == [
        "warning: plugin adcli-broken 0.3 failed: SystemExit: 0, adcli_broken.py:1 (see 'adcli plugins')",
        "warning: plugin adcli-listener 1.0 failed: adcli_run_finished raised SystemExit: down, "
        "adcli_listener.py:5 (see 'adcli plugins')",
    ]
    assert "Traceback" not in trained.err
    assert (
        run(site, "predict", folder, parts / "test", cwd=tmp_path, environment={"PYTHONPATH": str(THIRD_PARTY)}).code
        == 0
    )
