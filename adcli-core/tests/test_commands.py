"""Commands that messages print do what they say where they are pasted."""

import json
import shlex
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from pathlib import Path

import pytest

from adcli import _commands
from adcli._commands import install_command, quote

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1"
[project.optional-dependencies]
export = []
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that packages are installed in."""

    def find(name: str) -> Distribution:
        for found in distributions(name=name, path=[str(tmp_path / "site")]):
            return found
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_commands, "distribution", find)
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def write_project(folder: Path, name: str) -> Path:
    (folder / name.replace("-", "_")).mkdir(parents=True)
    (folder / name.replace("-", "_") / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PROJECT.format(name=name))
    return folder


def install(site: Path, name: str, origin: str | None = None, **facts: object) -> None:
    """Write the metadata of an installed package, perhaps with the origin that installers record."""
    info = site / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": origin, **facts}))


@pytest.fixture
def checkout(site: Path, tmp_path: Path) -> Path:
    """A checkout with a space in its name, whose core is installed to be edited."""
    core = write_project(tmp_path / "my work/adcli-core", "adcli-core")
    write_project(tmp_path / "my work/plugins/adcli-onnx", "adcli-onnx")
    install(site, "adcli-core", core.as_uri(), dir_info={"editable": True})
    return tmp_path / "my work"


@pytest.mark.parametrize("requirement", ["adcli-onnx", "adcli-onnx[export]", "adcli-core[torch]"])
def test_a_package_is_named_if_adcli_came_from_an_index(site: Path, requirement: str) -> None:
    install(site, "adcli-core")
    assert shlex.split(install_command(requirement)) == ["pip", "install", requirement]


@pytest.mark.parametrize(
    "origin",
    [
        {"origin": "https://example.org/adcli_core-1-py3-none-any.whl", "archive_info": {}},
        {"origin": "git+https://example.org/adcli", "vcs_info": {"vcs": "git"}},
        {"origin": "file:///no/such/checkout/adcli-core", "dir_info": {"editable": True}},
        {"origin": "file:///", "dir_info": None},
        {"origin": "", "dir_info": {}},
    ],
)
def test_a_package_is_named_if_no_checkout_is_at_hand(site: Path, origin: dict[str, object]) -> None:
    install(site, "adcli-core", **origin)  # type: ignore[arg-type]
    assert install_command("adcli-onnx") == "pip install adcli-onnx"


def test_a_package_beside_the_core_is_installed_from_the_checkout(checkout: Path) -> None:
    folder = checkout / "plugins/adcli-onnx"
    words = shlex.split(install_command("adcli-onnx[export]"))
    assert words == ["pip", "install", "-e", f"{folder}[export]"]
    words = shlex.split(install_command("adcli-core[torch]", "adcli-onnx", flags=["--upgrade"]))
    assert words == ["pip", "install", "--upgrade", "-e", f"{checkout / 'adcli-core'}[torch]", "-e", str(folder)]


def test_a_checkout_that_was_installed_as_a_copy_is_copied_again(site: Path, checkout: Path) -> None:
    install(site, "adcli-onnx", (checkout / "plugins/adcli-onnx").as_uri(), dir_info={})
    words = shlex.split(install_command("adcli-onnx"))
    assert words == ["pip", "install", str(checkout / "plugins/adcli-onnx")]


@pytest.mark.parametrize("name", ["adcli-else", "../adcli-core", "--target=x", "."])
def test_what_the_checkout_does_not_have_is_named(checkout: Path, name: str) -> None:
    assert shlex.split(install_command(name))[2:] == [name]


def test_a_package_of_the_index_stays_one_beside_a_checkout(site: Path, checkout: Path) -> None:
    install(site, "adcli-onnx")
    assert install_command("adcli-onnx") == "pip install adcli-onnx"


@pytest.mark.slow
def test_the_command_installs_what_it_names(site: Path, checkout: Path, tmp_path: Path) -> None:
    # Of what cannot be edited: that would need one more package.
    install(site, "adcli-onnx", (checkout / "plugins/adcli-onnx").as_uri(), dir_info={})
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(tmp_path / "new")]
    command = install_command("adcli-onnx[export]", flags=offline).replace("pip", f"{quote(sys.executable)} -m pip", 1)
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    assert [found.name for found in distributions(path=[str(tmp_path / "new")])] == ["adcli-onnx"]


@pytest.mark.parametrize("words", [["a b"], ["it's"], ["*.png"], ["$HOME"], ["adcli-onnx[export]"], ["a", "", "c"]])
def test_quoted_words_are_the_same_in_a_shell(words: list[str]) -> None:
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {quote(*words)}"], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}\n" for word in words)
