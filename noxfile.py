"""The project's checks: ``nox`` runs lint, types and every package's tests; ``nox -l`` lists the rest."""

import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]

CORE = "adcli-core"
PLUGINS = sorted(str(path.parent) for path in Path("plugins").glob("*/pyproject.toml"))
EXTRAS = {"plugins/adcli-onnx": "[export]", "plugins/adcli-openvino": "[int8]"}
"""Optional parts, which are tested as well."""

EXPORTED = ("plugins/adcli-padim", "plugins/adcli-patchcore", "plugins/adcli-stfpm")
"""Models that the tests of exporters export."""

KINDS = ("model", "dataset")
"""What ``adcli plugin new`` can write."""

TEST_TOOLS = ("pytest>=8", "hatchling>=1.27", "pip>=24", "scipy>=1.11", "playwright>=1.50", "pytest-xdist>=3.5")


def install_all(session: nox.Session, *extra: str) -> None:
    """Install every package of the tree, editable, into one environment."""
    plugins = (part for plugin in PLUGINS for part in ("-e", f"./{plugin}{EXTRAS.get(plugin, '')}"))
    session.install("-e", f"./{CORE}[torch]", *plugins, *extra)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install_all(session, "mypy>=1.13", "types-PyYAML", *TEST_TOOLS)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of every package in one environment, a process for each core."""
    install_all(session, *TEST_TOOLS)
    # Files stay together, for what their tests share; threads of torch would only compete.
    session.run("pytest", "-n", "auto", "--dist", "loadfile", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
@nox.parametrize("plugin", PLUGINS)
def isolated(session: nox.Session, plugin: str) -> None:
    """Run one plugin's tests with nothing installed but it and the core; beside an exporter, models to export."""
    models = (part for model in EXPORTED if plugin in EXTRAS for part in ("-e", f"./{model}"))
    session.install("-e", f"./{CORE}[torch]", "-e", f"./{plugin}{EXTRAS.get(plugin, '')}", *models, *TEST_TOOLS)
    session.run("pytest", plugin, *session.posargs)


@nox.session
def light(session: nox.Session) -> None:
    """Install what a machine that only predicts needs, without torch; ``-- EXPORT IMAGES`` predicts there."""
    session.install("-e", f"./{CORE}", "-e", "./plugins/adcli-openvino")
    session.run("python", "-c", "import importlib.util as found; assert found.find_spec('torch') is None")
    session.run("adcli", "plugins")
    if session.posargs:
        session.run("adcli", "predict", *session.posargs)


@nox.session(venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions that the packages allow."""
    install_all(session, *TEST_TOOLS, "--resolution=lowest-direct")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session(venv_backend="uv", reuse_venv=False)
@nox.parametrize("kind", KINDS)
def template(session: nox.Session, kind: str) -> None:
    """Write a plugin of one kind, install it as a wheel beside the core alone, and check its tests, style and types."""
    session.install(f"./{CORE}[torch]", "pytest>=8", "ruff>=0.8", "mypy>=1.13")
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
def startup(session: nox.Session) -> None:
    """Print how long ``adcli --help`` takes."""
    install_all(session)
    session.run("python", "benchmarks/startup.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into build/docs; a warning, such as a link that leads nowhere, is an error."""
    session.install("sphinx>=8.2,<10", "myst-parser>=4,<6", "furo>=2025.7")
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "-c", "docs", ".", "build/docs", *session.posargs)
    session.log("look at build/docs/index.html")
