"""The project's checks: ``nox`` runs lint, types and every package's tests; ``nox -l`` lists the rest."""

import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from functools import partial
from itertools import takewhile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "thorough"]

CORE = "adcli-core"
PLUGINS = sorted(path.parent.as_posix() for path in Path("plugins").glob("*/pyproject.toml"))
PROJECTS = {folder: nox.project.load_toml(f"{folder}/pyproject.toml") for folder in (CORE, *PLUGINS)}
"""What every package says of itself, by its folder."""

FOLDERS = {project["project"]["name"]: folder for folder, project in PROJECTS.items()}

KINDS = ("model", "dataset", "executor", "command")
"""What ``adcli plugin new`` can write."""

OTHERS = ("anomalib",)
"""Optional parts that are other programs; only the session of the name installs one."""

LIGHT_TESTS = (
    "adcli-core/tests/test_calibration.py",
    "adcli-core/tests/test_folder.py",
    "adcli-core/tests/test_metrics.py",
    "adcli-core/tests/test_options.py",
    "adcli-core/tests/test_framing.py",
    "adcli-core/tests/test_settings.py",
    "adcli-core/tests/test_table.py",
    "plugins/adcli-datasets/tests",
    "tests/test_packaging.py",
)
"""Tests that need no torch."""

DIST = Path("dist")
METADATA = ("License-Expression", "Requires-Python", "Author", "Keywords", "Classifier", "Project-URL", "Summary")
"""Fields that every wheel has."""


def tools(*groups: str) -> tuple[str, ...]:
    """Return what groups of the root pyproject.toml list."""
    return nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), *groups)


def editable(*folders: str) -> list[str]:
    """Return the arguments that install packages, editable, with all their optional parts but other programs."""
    listed = [PROJECTS[folder]["project"].get("optional-dependencies", ()) for folder in folders]
    optional = [",".join(part for part in parts if part not in OTHERS) for parts in listed]
    paths = [
        f"./{folder}[{parts}]" if parts else f"./{folder}" for folder, parts in zip(folders, optional, strict=True)
    ]
    return [argument for path in paths for argument in ("-e", path)]


def install_all(session: nox.Session, *extra: str) -> None:
    """Install every package of the tree, editable, into one environment."""
    session.install(*editable(*PROJECTS), *extra)


def run_tests(
    session: nox.Session, *arguments: str, posargs: Sequence[str] | None = None, spread: str = "loadfile"
) -> None:
    """Run tests in a process for each core, with arguments and then with what stands after ``--``."""
    # Files stay together, for what their tests share; threads of torch would only compete; and a thousand processes
    # would compile what they import, each anew, where somebody has forbidden to keep it.
    rest = session.posargs if posargs is None else posargs
    environment = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    session.run("pytest", "-n", "auto", "--dist", spread, *arguments, *rest, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*tools("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install_all(session, *tools("types", "test"))
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of every package in one environment, a process for each core."""
    install_all(session, *tools("test"))
    run_tests(session)


@nox.session
def thorough(session: nox.Session) -> None:
    """Run the tests of which each takes as long as a hundred others."""
    run_long_tests(session, "thorough")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the same tests and report the lines that none reaches; what runs in processes of its own is not counted."""
    install_all(session, *tools("test", "coverage"))
    run_tests(session, "--cov", "--cov-report=term-missing", "--cov-report=html:build/coverage")
    session.log("look at build/coverage/index.html")


@nox.session
def matrix(session: nox.Session) -> None:
    """Run the long tests of models x backbones x exporters."""
    run_long_tests(session, "matrix")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run the long tests that mutate input and kill processes; ``-- kills`` runs those in ``test_kills.py``.

    Input is mutated for 30 seconds: ``-- --minutes 60`` asks for more, ``-- --inputs 20000`` for a number of inputs.
    """
    run_long_tests(session, "fuzz")


def run_long_tests(session: nox.Session, mark: str) -> None:
    """Run the tests with a mark; skip the session, and say so, if no test has it."""
    files = (path for folder in ("tests", f"{CORE}/tests", "plugins") for path in Path(folder).rglob("test_*.py"))
    if not any(f"mark.{mark}" in path.read_text(encoding="utf-8") for path in files):
        session.skip(f"no test is marked '{mark}' yet")
    install_all(session, *tools("test"))
    names = list(takewhile(str.isidentifier, session.posargs))
    chosen = ("-k", " or ".join(names)) if names else ()
    # Most of these tests share nothing, and all kills are in one file.
    run_tests(session, "-m", mark, *chosen, posargs=session.posargs[len(names) :], spread="load")


@nox.session
@nox.parametrize("plugin", PLUGINS)
def isolated(session: nox.Session, plugin: str) -> None:
    """Run one plugin's tests with nothing installed but it, the core, and the plugins that its group 'test' names."""
    needed = PROJECTS[plugin].get("dependency-groups", {}).get("test", ())
    session.install(*editable(CORE, plugin, *(FOLDERS[name] for name in needed)), *tools("test"))
    session.run("pytest", plugin, *session.posargs)


@nox.session
def anomalib(session: nox.Session) -> None:
    """Install anomalib beside every package, and run the tests of the plugin that offers its models."""
    install_all(session, "-e", "./plugins/adcli-anomalib[anomalib]", *tools("test"))
    run_tests(session, "plugins/adcli-anomalib")


@nox.session
def light(session: nox.Session) -> None:
    """Install what a machine that only predicts needs, without torch; ``-- EXPORT IMAGES`` predicts there."""
    session.install("-e", f"./{CORE}", "-e", "./plugins/adcli-openvino")
    session.run("python", "-c", "import importlib.util as found; assert found.find_spec('torch') is None")
    session.run("adcli", "plugins")
    if session.posargs:
        session.run("adcli", "predict", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """Install the core and a plugin without torch, ask for help, and run the tests that need no more: a minute."""
    session.install("-e", f"./{CORE}", "-e", "./plugins/adcli-datasets", "pytest>=8", "scikit-learn>=1.4")
    session.run("adcli", "--help")
    session.run("adcli", "plugins")
    session.run("pytest", *LIGHT_TESTS, *session.posargs)


@nox.session(venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions that the packages allow."""
    install_all(session, *tools("test"), "--resolution=lowest-direct")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session(venv_backend="uv", reuse_venv=False)
@nox.parametrize("kind", KINDS)
def template(session: nox.Session, kind: str) -> None:
    """Write a plugin of one kind, install it as a wheel beside the core alone, and check its tests, style and types."""
    session.install(f"./{CORE}[torch]", "pytest>=8", *tools("lint", "types"))
    # Outside this tree, whose own configuration would hide what the package's lacks.
    with tempfile.TemporaryDirectory() as parent, session.chdir(parent):
        folder = f"adcli-sample-{kind}"
        session.run("adcli", "plugin", "new", f"sample-{kind}", "--kind", kind)
        session.install(f"./{folder}")
        session.chdir(folder)
        session.run("ruff", "check", "--extend-select", "I,B,UP,SIM,RET,C4,PT,PTH,N,RUF,PERF", "--ignore", "N812", ".")
        session.run("ruff", "format", "--check", ".")
        session.run("mypy", "--strict", ".")
        session.run("pytest", env={"HF_HUB_OFFLINE": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """Build every package into dist, each wheel from its sdist, and check what an index would refuse or not show."""
    session.install(*tools("release"))
    for old in DIST.glob("adcli*"):
        old.unlink()
    for folder in PROJECTS:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST), folder, silent=True)
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.glob("adcli*"))))
    faults = [fault for wheel in sorted(DIST.glob("adcli*.whl")) for fault in faults_of(wheel)]
    if faults:
        session.error("\n".join(faults))


def faults_of(wheel: Path) -> list[str]:
    """Return what a wheel lacks, a line each."""
    package, version = wheel.name.split("-")[:2]
    imported = package.removesuffix("_core")
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
    lacking = [name for name in (f"{imported}/py.typed", f"{info}/licenses/LICENSE") if name not in names]
    lacking += [field for field in METADATA if field not in metadata]
    stray = [name for name in names if not name.startswith((f"{imported}/", f"{info}/"))]
    return [f"{wheel}: lacks {each}" for each in lacking] + [
        f"{wheel}: has {each}, outside its package" for each in stray
    ]


@nox.session(venv_backend="uv", reuse_venv=False, requires=["build"])
def wheels(session: nox.Session) -> None:
    """Install built wheels by name into a fresh environment, and run the README's commands outside the checkout."""
    boxes = ("adcli-embedded", "adcli-embedded-lite")
    session.install("--find-links", str(DIST.resolve()), f"{CORE}[torch]", "adcli-dfm", *boxes)
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        # Neither the checkout nor weights from a hub may help.
        environment = {"PYTHONPATH": None, "ADCLI_CACHE": f"{folder}/cache", "HF_HUB_OFFLINE": "1"}
        adcli = partial(session.run, "adcli", env=environment)
        adcli("--version")
        adcli("plugins")
        adcli("models")
        for backbone in ("mobilenetv2", "embedded"):
            adcli("train", "--model", "dfm", "--backbone", backbone, "--image-size", "64")
        images = next(Path(folder, "cache").rglob("test/scratch"))
        adcli("predict", "last", str(images), "--format", "csv", "--out", "checked")
        adcli("evaluate", "last")
        adcli("runs")


@nox.session(venv_backend="none")
def address(session: nox.Session) -> None:
    """Write the repository's address, ``-- URL MAIL``, wherever the one that stands in pyproject.toml stands."""
    if len(session.posargs) != 2:
        session.error("give both addresses: nox -s address -- URL MAIL")
    now = nox.project.load_toml("pyproject.toml")["tool"]["adcli"]
    listed = session.run("git", "ls-files", external=True, silent=True)
    for path in map(Path, str(listed).splitlines()):
        content = path.read_bytes()
        changed = content
        for old, new in zip((now["repository"], now["contact"]), session.posargs, strict=True):
            changed = changed.replace(old.encode(), new.encode())
        if changed != content:
            path.write_bytes(changed)
            session.log(f"changed {path}")


@nox.session
def startup(session: nox.Session) -> None:
    """Print how long ``adcli --help`` takes."""
    install_all(session)
    session.run("python", "benchmarks/startup.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into build/docs; a warning, such as a link that leads nowhere, is an error."""
    session.install(*tools("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "-c", "docs", ".", "build/docs", *session.posargs)
    session.log("look at build/docs/index.html")
