"""A run as a notebook shows it."""

from collections.abc import Mapping
from typing import Any

from adcli._showing import Markup, join_blocks, link_file, list_facts
from adcli.errors import AdcliError
from adcli.metrics.words import describe_level, describe_ranking
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run

REPORT_FILE = "report.html"


def show_run(run: Run, metrics: Mapping[str, Any] | None = None) -> Markup:
    """Return what is known of a run, with a link to its report if there is one.

    Args:
        run: the run, whose folder may be gone.
        metrics: of its evaluation; those in its folder when None.
    """
    facts: dict[str, object] = {
        "run": run.path,
        "model": run.settings.get("model", ""),
        "data": run.settings.get("data") or "demo",
        "finished": run.record.get("finished", ""),
        "threshold": run.calibration.promise(brief=True),
    }
    return join_blocks(
        list_facts(facts | _read(run, metrics)), link_file(run.path / REPORT_FILE, "the report of this run")
    )


def _read(run: Run, metrics: Mapping[str, Any] | None) -> dict[str, object]:
    """Return the metrics that need no threshold, or why they cannot be read."""
    try:
        found = read_metrics(run.path) if metrics is None else metrics
    except AdcliError as error:
        return {"metrics": error.format_message()}
    return {describe_level(found, level): describe_ranking(found, level) for level in ("image", "pixel")}
