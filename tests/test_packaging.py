"""Every package says of itself what an index and a type checker want to know, and each fact stands in one place."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parent.parent
CORE = ROOT / "adcli-core"
PACKAGES = [CORE, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
CLASSIFIERS = {
    "Typing :: Typed",
    "Programming Language :: Python :: 3",
    *(f"Programming Language :: Python :: {version}" for version in PYTHONS),
}
LARGEST = 25 * 10**6
"""Bytes of weights that a wheel may have."""

INDEX = re.compile(r"index[-_]url|https?://\S+/simple\b")
"""What names a package index: an option, or the address that clients ask."""


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def project(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = toml(package / "pyproject.toml")["project"]
    return found


def import_package(package: Path) -> Path:
    """Return the folder that a package's wheel is made of."""
    (listed,) = toml(package / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return package / listed


TOOLS = toml(ROOT / "pyproject.toml")["tool"]
HOME = TOOLS["adcli"]["repository"]
of_every_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def test_every_folder_of_plugins_is_a_package() -> None:
    folders = {path.parent for path in ROOT.glob("plugins/*/src")}
    assert len(folders) >= 12
    assert {CORE, *folders} == {*PACKAGES}


@of_every_package
def test_a_package_is_typed_and_carries_its_licence(package: Path) -> None:
    assert (import_package(package) / "py.typed").is_file()
    # Weights of others may have a licence of their own beside ours.
    first, *others = project(package)["license"].split(" AND ")
    assert first == "Apache-2.0"
    # hatchling takes LICENSE* and NOTICE beside pyproject.toml, unless it is told otherwise.
    assert "license-files" not in project(package)
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert {path.name for path in package.glob("LICENSE-*")} == {f"LICENSE-{other}" for other in others}


@of_every_package
def test_a_wheel_is_small_and_says_where_the_weights_in_it_come_from(package: Path) -> None:
    weights = [*import_package(package).rglob("*.safetensors")]
    assert sum(path.stat().st_size for path in weights) <= LARGEST
    notice = (package / "NOTICE").read_text(encoding="utf-8") if weights else ""
    assert [path.name for path in weights if path.name not in notice] == []


@of_every_package
def test_a_package_has_the_repositorys_address(package: Path) -> None:
    assert project(package)["urls"] == {
        "Homepage": HOME,
        "Documentation": f"{HOME}/blob/main/docs/index.md",
        "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
        "Issues": f"{HOME}/issues",
    }


@of_every_package
def test_a_package_says_who_makes_it_and_what_it_is_about(package: Path) -> None:
    said = project(package)
    assert said["authors"] == said["maintainers"] == [{"name": "adcli maintainers"}]
    assert {"adcli", "anomaly detection"} <= {*said["keywords"]}
    assert {*said["classifiers"]} >= CLASSIFIERS
    assert any(each.startswith("Development Status :: ") for each in said["classifiers"])
    assert any(each.startswith("Topic :: ") for each in said["classifiers"])
    assert said["classifiers"] == sorted(said["classifiers"])


@of_every_package
def test_the_pythons_that_are_named_are_the_ones_that_are_allowed_and_tested(package: Path) -> None:
    assert project(package)["requires-python"] == f">={PYTHONS[0]}"
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert tuple(workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]) == PYTHONS
    assert TOOLS["mypy"]["python_version"] == PYTHONS[0]
    assert TOOLS["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"


@of_every_package
def test_a_version_stands_in_one_place(package: Path) -> None:
    version = project(package)["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    sources = chain.from_iterable(import_package(package).rglob(pattern) for pattern in ("*.py", "*.toml"))
    for path in sources:
        assert f'"{version}"' not in path.read_text(encoding="utf-8"), path


def test_the_cores_version_is_that_of_its_metadata() -> None:
    from importlib.metadata import version

    from adcli import __version__

    assert __version__ == version("adcli-core")


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda package: package.name)
def test_a_plugin_requires_cores_up_to_the_next_major_version(package: Path) -> None:
    requirements = [Requirement(text) for text in project(package)["dependencies"]]
    (core,) = (each for each in requirements if each.name == "adcli-core")
    lowest = next(part.version for part in core.specifier if part.operator == ">=")
    assert re.fullmatch(r"\d+\.\d+", lowest)
    assert core.specifier == SpecifierSet(f">={lowest},<{Version(lowest).major + 1}")
    assert core.specifier.contains(project(CORE)["version"])


@of_every_package
def test_a_package_is_called_after_its_folder(package: Path) -> None:
    assert project(package)["name"] == package.name
    assert import_package(package).name == package.name.replace("-", "_").removesuffix("_core")


def test_a_plugins_tests_need_packages_that_there_are() -> None:
    names = {package.name for package in PACKAGES}
    for package in PACKAGES:
        assert {*toml(package / "pyproject.toml").get("dependency-groups", {}).get("test", ())} <= names


def test_the_tools_of_every_session_are_bounded_from_below() -> None:
    groups = toml(ROOT / "pyproject.toml")["dependency-groups"]
    (ruff,) = map(Requirement, groups["lint"])
    assert {part.operator for part in ruff.specifier} == {">=", "<"}, "formatting must not depend on the day"
    listed = map(Requirement, chain.from_iterable(groups.values()))
    assert [each.name for each in listed if not each.specifier and not each.name.startswith("types-")] == []


# What the repository says


def tracked() -> Iterator[tuple[str, str]]:
    """Yield name and text of every file of the repository that is text."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".jpg", ".png", ".safetensors"}:
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_no_file_names_a_package_index() -> None:
    assert INDEX.search("pip install --extra-index-url x")
    assert INDEX.search("https://example.org/simple/torch")
    own = Path(__file__).relative_to(ROOT).as_posix()
    assert [name for name, text in tracked() if name != own and INDEX.search(text)] == []
    assert [name for name, _ in tracked() if name.endswith(".lock")] == []


def test_links_into_the_repository_lead_to_files() -> None:
    pattern = re.compile(re.escape(f"{HOME}/blob/main/") + r"([\w./-]+)")
    links = [(name, link) for name, text in tracked() for link in pattern.findall(text)]
    assert links
    assert [(name, link) for name, link in links if not (ROOT / link).is_file()] == []


@of_every_package
def test_a_readme_can_be_read_on_an_index(package: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (package / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.parametrize("name", ["CITATION.cff", ".github/ISSUE_TEMPLATE/config.yml", "SECURITY.md"])
def test_the_address_is_the_one_of_the_root(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert HOME in text or TOOLS["adcli"]["contact"] in text


def test_yaml_can_be_read() -> None:
    names = [".pre-commit-config.yaml", "CITATION.cff", *(str(path) for path in ROOT.glob(".github/**/*.yml"))]
    assert len(names) >= 7
    for name in names:
        assert yaml.safe_load((ROOT / name).read_text(encoding="utf-8")), name


def test_hooks_before_a_commit_fetch_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [each["repo"] for each in config["repos"]] == ["local"]
    assert {hook["language"] for each in config["repos"] for hook in each["hooks"]} == {"system"}


def sessions() -> set[str]:
    """Return the names of nox's sessions."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    return {*re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)\(", text, re.MULTILINE)}


def test_workflows_and_pages_name_sessions_that_there_are() -> None:
    named = set()
    for name, text in tracked():
        if name.endswith((".md", ".yml")):
            for words in re.findall(r"nox -s ([\w ]+)", text):
                named |= {*words.split()} if name.endswith(".yml") else {words.split()[0]}
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    for job in workflow["jobs"].values():
        named |= {*job.get("strategy", {}).get("matrix", {}).get("session", ())}
    assert named <= sessions(), named - sessions()
    assert {"lint", "types", "tests", "smoke", "docs", "minimums", "wheels", "matrix", "fuzz"} <= named


def test_tests_that_need_no_torch_are_where_the_session_looks_for_them() -> None:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    listed = re.findall(r'"(\S+)"', text.partition("LIGHT_TESTS = (")[2].partition("\n)")[0])
    assert len(listed) > 5
    assert [name for name in listed if not (ROOT / name).exists()] == []
