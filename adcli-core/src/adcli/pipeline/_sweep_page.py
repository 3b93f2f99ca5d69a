"""The page of a sweep: its means, comparisons and curves, written to a file."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from adcli._files import write_atomically
from adcli.errors import RunError
from adcli.pipeline._pages import check_out
from adcli.report.sweep import GENERATOR, SweepPage, render_sweep, time_groups
from adcli.runs.scores import LabelledScores, read_scores
from adcli.sweeps.comparing import Comparison, compare_groups
from adcli.sweeps.curves import average_rocs
from adcli.sweeps.grouping import Grouped, group_runs
from adcli.sweeps.naming import default_metrics, find_metric, list_metrics, list_names
from adcli.sweeps.results import SweepResults
from adcli.sweeps.summary import Summary, summarise


def write_sweep_page(
    results: SweepResults,
    out: Path,
    by: Sequence[str] | None = None,
    over: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    against: str | None = None,
    title: str = "",
    command: str = "",
) -> None:
    """Write the results of a sweep as a page that needs no network.

    Args:
        results: of the sweep.
        out: the file, ``NAME.html``; an earlier page of a sweep is replaced.
        by, over: as for :func:`adcli.sweeps.summary.summarise`.
        metrics: what is shown; groups are ranked and compared by the first.
        against: the name of the group that the others are compared with; the best when None.
        title: of the page; the sweep's name if empty.
        command: the command line, for the page's end.

    Raises:
        OptionError: a factor, metric or group is unknown, or a factor varies that nobody named.
        RunError: there are no runs, or their scores cannot be read.
        StorageError: the file is something else, or cannot be written.
    """
    check_out(out, GENERATOR)
    grouped = group_runs(results, by, over)
    known = list_metrics(results)
    chosen = (
        default_metrics(results)
        if metrics is None
        else [find_metric(name, known) for name in list_names(metrics, "metric")]
    )
    if not chosen:
        raise RunError(f"{results.folder}: no run has metrics yet; nothing can be shown.")
    metric = chosen[0]
    shown = list(dict.fromkeys([*chosen, *default_metrics(results)]))
    # Reading hundreds of tables takes seconds.
    read = functools.cache(read_scores)
    comparison, why_not = _compare(results, grouped, metric, against, read)
    curves, averaged = average_rocs(results, grouped.by, grouped.over, read=read)
    page = SweepPage(
        title or f"Sweep {results.folder.absolute().name}",
        results,
        summarise(results, grouped.by, grouped.over, shown),
        metric,
        comparison,
        why_not,
        _split_by_images(results, grouped, metric),
        curves,
        averaged,
        time_groups(grouped.groups),
        command,
    )
    write_atomically(out, render_sweep(page))


def _compare(
    results: SweepResults, grouped: Grouped, metric: str, against: str | None, read: Callable[[Path], LabelledScores]
) -> tuple[Comparison | None, str]:
    """Return the comparison of the groups, or None and why there is none."""
    if len(grouped.groups) < 2:
        return None, ""
    try:
        return compare_groups(results, grouped.by, grouped.over, metric, against=against, read=read), ""
    except RunError as error:
        return None, error.format_message()


def _split_by_images(results: SweepResults, grouped: Grouped, metric: str) -> Summary | None:
    """Return the means of each group by category; None if there is one category."""
    if len({unit.images for unit in grouped.units}) < 2:
        return None
    names = [*grouped.by, *grouped.images]
    return summarise(results, names, [name for name in grouped.over if name not in names], [metric])
