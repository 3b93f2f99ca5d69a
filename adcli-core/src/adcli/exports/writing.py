"""Writing an exported folder: the exporter's graph, what it says of it, and what belongs to both."""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from adcli import __version__
from adcli._changes import changing, clean_beside, give_name, inside, making, settle
from adcli._files import file_digest, seal, storing, sync, sync_all, write_atomically
from adcli._plugins.registry import Provided
from adcli.data.framing import PLAIN, Framing
from adcli.errors import AdcliError, PluginError, RunError, StorageError, locate
from adcli.exports.export import (
    FITTED_FILE,
    FORMAT,
    MANIFEST_FILE,
    Export,
    ExportSource,
    list_files,
    load_runtime,
    summarise,
)
from adcli.options import Options
from adcli.runs.calibrations import FOLDER as CALIBRATIONS
from adcli.runs.calibrations import KeptCalibration, entry_path
from adcli.runs.run import CALIBRATION_FILE, Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime
from adcli.specs import ExporterSpec

_FACTS = frozenset({"name", "file", "precision", "inputs", "outputs", "tolerance"})


TARGET = MANIFEST_FILE
"""What everybody changes who changes a finished export, so that they take turns: each writes the manifest."""


@contextlib.contextmanager
def new_folder(final: Path, *, run: Path | None = None, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write an export into, which becomes ``final`` at the end; after an error, nothing is left.

    Args:
        final: the exported folder.
        run: the run's folder, in which ``final`` may lie.
        replace: put it in the place of an export of that name, in one step; other files in the folder stay.

    Raises:
        RunError: another process is at work on it.
        StorageError: something else has its name, now or at the end, when the message says where the result lies.
    """
    name = _name_in_run(final, run)
    if run is not None and name:
        inside(run, name)
    clean_beside(final)
    if replace and os.path.lexists(final):
        made = _replacing(final)
    else:
        _check_free(final)
        made = making(final) if run is None or not name else _adding(run, name, final)
    with made as folder:
        yield folder


def _check_free(final: Path) -> None:
    """Make sure that nothing has the name of an export that is to be; raises :class:`StorageError`."""
    if os.path.lexists(final):
        raise StorageError(f"--out {final}: exists already; choose another folder, or replace it with --force.")


def _name_in_run(final: Path, run: Path | None) -> str:
    """Return an export's name below the run that it lies in; nothing if it lies elsewhere."""
    if run is None:
        return ""
    for place, root in ((final.absolute(), run.absolute()), (final.parent.resolve() / final.name, run.resolve())):
        if place.is_relative_to(root):
            return place.relative_to(root).as_posix()
    return ""


@contextlib.contextmanager
def _adding(run: Path, name: str, final: Path) -> Iterator[Path]:
    """Give a folder that becomes a new one in a run."""
    with changing(run, name) as staged:
        (staged / name).mkdir(parents=True)
        yield staged / name
        with storing(final):
            sync_all(staged)
            final.parent.mkdir(parents=True, exist_ok=True)
            give_name(staged / name, final)
            sync(final.parent)


@contextlib.contextmanager
def _replacing(final: Path) -> Iterator[Path]:
    """Give a folder whose files take the place of an export's; what is none of them is never touched."""
    settle(final)
    before = list_files(final)
    with changing(final, TARGET, replaced=before) as staged:
        if list_files(final) != before:
            raise RunError(f"{final}: another command has just changed it; export again.")
        yield staged
        for path in staged.rglob("*"):
            name = path.relative_to(staged).as_posix()
            if path.is_file() and name not in before and os.path.lexists(final / name):
                raise StorageError(f"{final / name}: is not of the export that is to be replaced; move it away.")


def write_graph(
    provided: Provided[ExporterSpec], options: Options, source: ExportSource, folder: Path
) -> tuple[dict[str, Any], Runtime]:
    """Have the exporter write its graph into a folder; return what is known for the manifest, and the graph loaded.

    Raises:
        PluginError: the exporter fails, or returns facts that cannot be used.
    """
    run, plugin = source.run, provided.plugin
    manifest = {
        "format": FORMAT,
        "core": __version__,
        "exporter": provided.spec.name,
        "plugin": {"distribution": plugin.distribution, "version": plugin.version},
        "options": options.to_dict(),
        "model": run.record["model"],
        "run": {
            "name": run.name,
            "weights": run.record["weights"],
            "calibration": run.calibration.digest,
            "learnt_from": run.origin.learnt_from,
        },
        "task": source.task,
        "image_size": list(source.image_size),
        "graph": _write(provided, options, source, folder),
    }
    unfinished = Export(folder, manifest, run.calibration)
    # From the files, so that what is checked is what was written.
    return manifest, load_runtime(provided, unfinished, "cpu", f"exporter '{provided.spec.name}' of {plugin}")


def _write(provided: Provided[ExporterSpec], options: Options, source: ExportSource, folder: Path) -> dict[str, Any]:
    """Call the exporter, and return its facts."""
    who = f"exporter '{provided.spec.name}' of {provided.plugin}"
    write = provided.load(provided.spec.target)
    try:
        facts = write(source, folder, options)
    except AdcliError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; free space or choose another.") from None
    except Exception as error:
        package = provided.spec.target.partition(":")[0].partition(".")[0]
        raise PluginError(f"{who} failed ({locate(error, package)}).") from error
    try:
        plain = json.loads(json.dumps(facts, allow_nan=False))
        problem = _find_problem(plain, folder)
    except (TypeError, ValueError) as error:
        problem = f"they are not plain values ({error})"
    if problem:
        raise PluginError(f"{who} returned facts that cannot be used: {problem}.")
    return dict(plain)


def _find_problem(facts: Any, folder: Path) -> str:
    """Return what is wrong with an exporter's facts, or nothing."""
    if not isinstance(facts, dict):
        return f"they are a {type(facts).__name__}, expected a dictionary with {', '.join(sorted(_FACTS))}"
    missing = sorted(_FACTS - facts.keys())
    if missing:
        return f"they lack {' and '.join(missing)}"
    for name, value in facts.items():
        text = json.dumps(value, ensure_ascii=False)
        if str(folder.resolve()) in text or str(Path.home()) + os.sep in text:
            return f"{name} is {value!r}, a path of this machine; expected one relative to the folder"
    if not isinstance(facts["file"], str) or not (folder / facts["file"]).is_file():
        return f"file is {facts['file']!r}, which was not written; expected the graph's name in the folder"
    for name in ("tolerance", "auroc_drop"):
        if facts.get(name) is not None and not _is_limit(facts[name]):
            return f"{name} is {facts[name]!r}, expected a number above 0"
    return "" if facts["tolerance"] is not None else "tolerance is None, expected a number above 0"


def _is_limit(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def seal_folder(
    folder: Path,
    manifest: dict[str, Any],
    calibration: Calibration,
    framing: Framing = PLAIN,
    fitted: Collection[str] = (),
) -> None:
    """Write calibration, framing and manifest, with the digest of every file, next to a graph.

    Args:
        folder: of the graph.
        manifest: what :func:`write_graph` returned, and what was measured.
        calibration: from scores of the graph.
        framing: what is done to images before the graph gets them.
        fitted: digests of the images that the model was fitted to.
    """
    height, width = manifest["image_size"]
    for name, data in framing.files((height, width)).items():
        write_atomically(folder / name, data)
    write_atomically(folder / FITTED_FILE, "".join(f"{digest}\n" for digest in sorted(fitted)))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    for name, data in _format_calibrated({**manifest, "files": digests}, calibration).items():
        write_atomically(folder / name, data)


def keep_first(folder: Path, kept: KeptCalibration) -> None:
    """Begin the history of an export's calibrations, which is not sealed: it may grow, and predicting needs none."""
    (folder / CALIBRATIONS).mkdir()
    write_atomically(folder / entry_path(kept.number), kept.to_json())


def format_calibrated(export: Export, calibration: Calibration) -> dict[str, bytes]:
    """Return the files of an export that another calibration changes, by name; its history is not among them.

    The export takes note of the calibration that the run beside it has by now, if there is one.
    """
    made = dict(export.manifest["run"])
    with contextlib.suppress(AdcliError):
        run = Run.open(export.path.absolute().parent.parent)
        if run.record["weights"] == made["weights"]:
            made["calibration"] = run.calibration.digest
    return _format_calibrated({**export.manifest, "run": made}, calibration)


def _format_calibrated(manifest: Mapping[str, Any], calibration: Calibration) -> dict[str, bytes]:
    content = {name: value for name, value in manifest.items() if name != "files"}
    written = calibration.to_json().encode()
    content |= {
        **summarise(calibration),
        "files": {**manifest["files"], CALIBRATION_FILE: hashlib.sha256(written).hexdigest()},
    }
    return {CALIBRATION_FILE: written, MANIFEST_FILE: seal(content).encode()}
