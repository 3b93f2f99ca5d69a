"""What metrics and factors of a sweep are called, and how their values are printed."""

from collections.abc import Iterable, Sequence

from adcli.errors import OptionError, printable, suggest
from adcli.metrics.table import METRICS, list_columns
from adcli.sweeps.cells import OPTION, Factor
from adcli.sweeps.results import SweepResults

SECONDS = "seconds."
"""What the metrics begin with that are times."""

LEVELS = ("image.", "pixel.", SECONDS)

_LOWER = ("fpr_at_95_tpr", "false_alarm_rate", "unseen")
_LABELS = {metric.key: metric.label for metric in METRICS}
_ON_BOTH = {metric.key for metric in METRICS if len(metric.levels) > 1}
_COUNTS = ("n_good", "n_defect")


def is_lower_better(metric: str) -> bool:
    """Tell whether a metric is the better the lower it is."""
    return metric.startswith(SECONDS) or metric.partition(".")[2] in _LOWER


def list_metrics(results: SweepResults) -> list[str]:
    """Return the metrics that any run has, in the order in which they appear."""
    found = dict.fromkeys(row.metric for row in results.rows() if row.metric)
    return sorted(found, key=lambda name: next(i for i, level in enumerate((*LEVELS, "")) if name.startswith(level)))


def default_metrics(results: SweepResults) -> list[str]:
    """Return the metrics that are shown if none are asked for: the columns of several categories, and the time."""
    known = list_metrics(results)
    shown = [f"{level}.{metric.key}" for level, metric in list_columns()]
    return [metric for metric in (*shown, "seconds.fit") if metric in known]


def find_metric(name: str, known: Sequence[str], option: str = "metric") -> str:
    """Return the metric that a name stands for: ``auroc`` is ``image.auroc``, ``aupro`` is ``pixel.aupro``.

    Raises:
        OptionError: there is none; the message has the nearest.
    """
    for whole in (name, *(f"{level}{name}" for level in LEVELS)):
        if whole in known:
            return whole
    raise OptionError(f"names '{printable(name)[:60]}', which no run has.{suggest(name, known)}", option=option)


def find_factor(name: str, known: Sequence[str], option: str) -> str:
    """Return the factor that a name stands for: ``coreset`` is ``option.coreset``.

    Raises:
        OptionError: there is none; the message has the nearest.
    """
    for whole in (name, f"{OPTION}{name}", name.replace("-", "_")):
        if whole in known:
            return whole
    raise OptionError(f"names '{printable(name)[:60]}', which no run has.{suggest(name, known)}", option=option)


def split_names(text: str, option: str) -> tuple[str, ...]:
    """Return the names in a list such as ``category,seed``.

    Raises:
        OptionError: one is empty, or given twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise OptionError(f"must be names with commas between them, each once, not '{text}'.", option=option)
    return names


def list_names(names: Sequence[str], option: str) -> Sequence[str]:
    """Return names as they are, or those in a text such as ``category,seed``."""
    return split_names(names, option) if isinstance(names, str) else names


def label_metric(metric: str) -> str:
    """Return what a metric is called for people."""
    level, _, key = metric.partition(".")
    if metric.startswith(SECONDS):
        return f"{key} s"
    label = _LABELS.get(key, key.replace("_", " "))
    return f"{level} {label}" if key in _ON_BOTH or key not in _LABELS else label


def label_factor(factor: str) -> str:
    """Return what a factor is called for people."""
    return factor.removeprefix(OPTION).replace("_", " ")


def format_value(metric: str, value: float) -> str:
    """Return a value as tables show it."""
    if metric.startswith(SECONDS):
        return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
    return f"{value:.0f}" if metric.partition(".")[2] in _COUNTS and value == int(value) else f"{value:.3f}"


def format_spread(metric: str, value: float, spread: float) -> str:
    """Return the standard deviation of a value, with as many digits after the point as the value has."""
    return f"{spread:.{len(format_value(metric, value).partition('.')[2])}f}"


def format_factor(value: Factor) -> str:
    """Return a value of a factor as tables show it."""
    return "-" if value in (None, "") else str(value)


def name_group(group: Iterable[Factor]) -> str:
    """Return the name of a group of runs."""
    return ", ".join(map(format_factor, group))


def say_p(p_value: float) -> str:
    """Return a p-value as tables show it."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"
