"""The registry: every spec knows its distribution, and one broken plugin disturbs no other."""

from pathlib import Path

import pytest

from adcli._plugins.registry import Plugin, load
from adcli.errors import OptionError, PluginError

GOOD = """
from adcli import ModelSpec, Options, hookimpl

@hookimpl
def adcli_models():
    return [ModelSpec(name="{name}", target="{module}:Model", options=Options, summary="a test model")]
"""

BROKEN = {
    "raises": ("raise RuntimeError('no luck\\ntoday')", "RuntimeError: no luck today"),
    "imports": ("import no_such_module", "no_such_module"),
    "unknown_hook": (
        "from adcli import hookimpl\n@hookimpl\ndef adcli_model():\n    return []",
        "Did you mean 'adcli_models'?",
    ),
    "wrapper": (
        "import pluggy\n@pluggy.HookimplMarker('adcli')(wrapper=True)\ndef adcli_models():\n    return (yield)",
        "wrappers",
    ),
    "rubbish": ("from adcli import hookimpl\n@hookimpl\ndef adcli_models():\n    return [42]", "42"),
    "hook_raises": ("from adcli import hookimpl\n@hookimpl\ndef adcli_models():\n    return 1 / 0", "ZeroDivision"),
    "not_a_list": (
        "from adcli import hookimpl\n@hookimpl\ndef adcli_models():\n    return None",
        "returned None instead of a list of",
    ),
    "extra_argument": ("from adcli import hookimpl\n@hookimpl\ndef adcli_models(cli):\n    return []", "cli"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lay out an installed distribution with one plugin, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module: str, code: str, *, entry: str | None = None, version: str = "1.0", needs: str = "") -> None:
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n{requires}")
        (info / "entry_points.txt").write_text(f"[adcli]\n{entry or module} = {module}\n")

    return write


def plugin(name: str) -> Plugin:
    """Load all plugins again and return one."""
    return next(plugin for plugin in load().plugins if plugin.name == name)


def test_a_plugin_is_found_and_its_specs_know_where_they_come_from(install) -> None:
    install("fine_plugin", GOOD.format(name="fine", module="fine_plugin"), version="2.5")
    provided = load().models["fine"]
    assert str(provided.plugin) == "fine_plugin 2.5"
    assert provided.spec.summary == "a test model"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_with_its_reason_and_leaves_nothing_behind(install, kind: str) -> None:
    code, reason = BROKEN[kind]
    install(f"broken_{kind}", code, version="0.3")
    install(f"beside_{kind}", GOOD.format(name="beside", module=f"beside_{kind}"))
    registry = load()
    (failed,) = registry.failed
    assert str(failed) == f"broken_{kind} 0.3"
    assert reason in (failed.error or "")
    assert "\n" not in (failed.error or "")
    assert not failed.specs
    assert registry.models["beside"]
    assert not registry.manager.has_plugin(failed.key)


def test_a_failed_plugin_for_another_core_says_which_to_upgrade(install) -> None:
    install("newer", "raise ImportError('cannot import name')", needs="adcli-core>=99")
    assert "it needs adcli-core>=99, but" in (plugin("newer").error or "")


def test_a_working_plugin_is_not_refused_for_its_requirement(install) -> None:
    install("newer_but_works", GOOD.format(name="works", module="newer_but_works"), needs="adcli-core>=99")
    assert plugin("newer_but_works").error is None


def test_a_name_that_two_plugins_offer_needs_its_provider(install) -> None:
    for module in ("twin_a", "twin_b"):
        install(module, GOOD.format(name="twin", module=module))
    models = load().models
    with pytest.raises(PluginError, match=r"twin_a 1\.0 and twin_b 1\.0.*'twin_a/twin'.*ADCLI_DISABLE=twin_b"):
        models["twin"]
    assert models["twin_b/twin"].plugin.name == "twin_b"


def test_a_disabled_plugin_is_as_if_not_installed(install, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("twin_a", "twin_b"):
        install(module, GOOD.format(name="twin", module=module))
    monkeypatch.setenv("ADCLI_DISABLE", "something, twin_a")
    assert load().models["twin"].plugin.name == "twin_b"


@pytest.mark.parametrize("name", ["core", "CORE", "adcli-core", "adcli_core"])
def test_the_core_cannot_be_left_out_and_the_user_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_DISABLE", name)
    registry = load()
    assert registry.datasets["folder"]
    assert f"'{name}' is adcli itself, which cannot be left out" in " ".join(registry.warnings)


def test_a_plugin_with_the_name_of_the_core_can_be_left_out(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("other", GOOD.format(name="fine", module="other"), entry="core")
    monkeypatch.setenv("ADCLI_DISABLE", "core")
    registry = load()
    assert [str(plugin) for plugin in registry.plugins if plugin.disabled] == ["other 1.0"]
    assert not registry.warnings


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), AttributeError("no"), SyntaxError("no"), ImportError("no"), SystemExit(2)]
)
def test_an_error_in_the_core_is_neither_mended_nor_left_out_by_its_user(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(PluginError) as raised:
        load().backbones["timm:"].guard("it cannot be made", fail)
    words = raised.value.format_message()
    assert "look at what it was given; if that is right, report this" in words
    assert not [remedy for remedy in ("ADCLI_DISABLE", "mend", "upgrade", "pip") if remedy in words]


def test_two_distributions_with_one_entry_point_name_both_work_and_the_user_is_told(install) -> None:
    install("first_dist", GOOD.format(name="one", module="first_dist"), entry="same")
    install("second_dist", GOOD.format(name="two", module="second_dist"), entry="same")
    registry = load()
    assert {"one", "two"} <= set(registry.models)
    assert not registry.failed
    (line,) = registry.take_warnings()
    assert "second_dist 1.0 is called 'same', as is first_dist 1.0" in line
    assert not registry.take_warnings()


def test_an_unknown_name_gets_a_suggestion_and_names_failed_plugins(install) -> None:
    install("fine_plugin", GOOD.format(name="fine", module="fine_plugin"))
    install("ill", "1 / 0")
    with pytest.raises(OptionError, match=r"unknown model 'fien'.*'fine'.*ill 1\.0 failed to load"):
        load().models["fien"]


@pytest.mark.parametrize("name", ["", " ", ":", "/", "..", "../..", "../../etc/passwd", "a b", "-x", "\u00e9"])
def test_a_name_that_no_package_can_have_is_not_looked_for_in_one(name: str) -> None:
    registry = load()
    for known in registry.by_kind.values():
        assert "installed?" not in known.explain_unknown(name)
    assert "adcli-nothing installed?" in registry.models.explain_unknown("nothing")


def test_a_target_that_cannot_be_loaded_names_its_plugin(install) -> None:
    install("empty_plugin", GOOD.format(name="hollow", module="empty_plugin"))
    provided = load().models["hollow"]
    with pytest.raises(PluginError, match=r"'hollow' of empty_plugin 1\.0: empty_plugin:Model cannot be loaded"):
        provided.load(provided.spec.target)


def test_a_hook_that_raises_marks_its_plugin_and_the_others_are_called(install, tmp_path: Path) -> None:
    hook = "from adcli import hookimpl\nfrom pathlib import Path\n@hookimpl\ndef adcli_run_finished(run):\n    {body}\n"
    install("listener_bad", hook.format(body="raise ValueError('down')"))
    install("listener_good", hook.format(body="Path(run).write_text('seen')"))
    registry = load()
    registry.call_each("adcli_run_finished", run=tmp_path / "seen.txt")
    assert (tmp_path / "seen.txt").read_text() == "seen"
    assert [plugin.name for plugin in registry.failed] == ["listener_bad"]
    assert "ValueError: down" in (registry.failed[0].error or "")
