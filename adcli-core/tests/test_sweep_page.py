"""The page of a sweep: what it says, whatever names are, and how it looks in a browser by day and by night."""

import re
from collections.abc import Iterator, Sequence
from html import unescape
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Shown, contrast, launched
from scipy.integrate import trapezoid
from sweep_results import cell, made, results, scored

from adcli.errors import OptionError, RunError, StorageError
from adcli.metrics.curves import auroc, tabulate
from adcli.pipeline import write_sweep_page
from adcli.runs.scores import LabelledScores
from adcli.sweeps.curves import RATES, average_rocs, roc_of
from adcli.sweeps.results import Outcome, SweepResults

MODELS = {
    "patchcore": (3.4, 30.0),
    "padim": (2.2, 1.2),
    "dfm": (2.1, 1.0),
    "cflow": (2.8, 300.0),
    "draem": (0.9, 900.0),
    "stfpm": (2.0, 250.0),
    "reverse_distillation": (2.9, 400.0),
    "efficient_ad": (2.85, 420.0),
    "uflow": (2.3, 280.0),
}
HOSTILE = ('</script><img src=x onerror="alert(1)">', "{{ 7 * 7 }}", "a" * 150, "\u202eevil\x1b[31m", "&amp;<i>")
LABELS = np.arange(40) >= 20


def sweep(folder: Path, models: dict[str, tuple[float, float]], categories: Sequence[str], seeds: int) -> SweepResults:
    """Return a sweep of which one run failed and one is missing."""
    random, outcomes = np.random.default_rng(1), list[Outcome]()
    for category in categories:
        difficulty = 0.7 * random.normal(size=len(LABELS))
        for model, (shift, seconds) in models.items():
            own, noise = shift + 0.05 * random.normal(), 0.7 * random.normal(size=len(LABELS))
            for seed in range(seeds):
                scores = difficulty + noise + 0.1 * random.normal(size=len(LABELS)) + own * LABELS
                run = scored(folder, cell(model, category, seed), scores, LABELS)
                outcomes.append(Outcome(run.cell, run.path, run.metrics, {"fit": seconds, "evaluate": 0.2}))
    outcomes[3] = Outcome(outcomes[3].cell, error="no room <left> on the disk")
    outcomes[-1] = Outcome(outcomes[-1].cell)
    return results(*outcomes)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    return sweep(tmp_path_factory.mktemp("runs"), MODELS, ("bottle", "cable", "tile"), 2)


@pytest.fixture(scope="module")
def page(swept: SweepResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "sweep.html"
    write_sweep_page(swept, out)
    return out


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    out = folder / "hostile.html"
    names = {name: (1.0 + i, 2.0) for i, name in enumerate(HOSTILE)}
    write_sweep_page(sweep(folder, names, HOSTILE, 2), out, title=HOSTILE[0], command=HOSTILE[0])
    return out


def words_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_first_sentences_say_which_model_to_take(page: Path) -> None:
    words = words_of(page)
    assert "patchcore has the highest image AUROC:" in words
    assert "may be chance" in words
    assert "draem: behind by more than chance" in words
    assert "Higher is better. Each faint dot is a category." in words


def test_of_models_that_may_be_as_good_the_fastest_is_named(tmp_path: Path) -> None:
    models = {"slow": (2.5, 100.0), "quick": (2.2, 2.0), "bad": (0.1, 1.0)}
    swept = sweep(tmp_path / "runs", models, ("a", "b", "c"), 1)
    write_sweep_page(swept, tmp_path / "a.html")
    assert "quick is the fastest: 2.2 s a run instead of" in words_of(tmp_path / "a.html")
    assert "bad is the fastest" not in words_of(tmp_path / "a.html")


@pytest.mark.parametrize(
    "sentence",
    [
        "52 of 54 runs are made, 1 failed , 1 missing . By model, over category and seed.",
        "Mean ± sample standard deviation over 2 seeds, each the mean over its categories.",
        "p is corrected for 36 comparisons (Holm).",
        "Each is the mean of",
        "padim-parts-bottle-1 failed no room <left> on the disk",
        "uflow-parts-tile-1 missing not made yet",
        "image AUROC by category",
        "The 3 categories are taken as a sample",
    ],
)
def test_the_page_says(page: Path, sentence: str) -> None:
    assert sentence in words_of(page)


def test_the_page_needs_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert "http" not in text
    assert "@import" not in text


class Elements(HTMLParser):
    """Names of the elements of a page, and what of them is a script."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, int] = {}
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] = self.names.get(tag, 0) + 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_names_stay_names(hostile: Path) -> None:
    found = Elements()
    found.feed(hostile.read_text(encoding="utf-8"))
    assert found.names["script"] == 1
    assert "img" not in found.names
    assert "i" not in found.names
    assert found.handlers == []
    words = words_of(hostile)
    assert all(" ".join(name.split()) in words for name in HOSTILE[:3])
    assert "49" not in re.findall(r"\b49\b", words)


def test_a_page_of_one_group_or_without_scores_says_so(tmp_path: Path) -> None:
    alone = results(*(made(cell("padim", c), image__auroc=0.9, seconds={"fit": 1}) for c in "ab"))
    with pytest.raises(RunError, match="scores cannot be read"):
        write_sweep_page(alone, tmp_path / "a.html")
    pixels = results(*(made(cell("padim", c), pixel__auroc=0.9) for c in "ab"))
    write_sweep_page(pixels, tmp_path / "a.html")
    assert "There is one group of runs, and nothing to compare it with." in words_of(tmp_path / "a.html")
    apart = results(made(cell("a", "x"), pixel__auroc=0.5), made(cell("b", "y"), pixel__auroc=0.6))
    write_sweep_page(apart, tmp_path / "b.html")
    assert "no category and seed has runs of all groups" in words_of(tmp_path / "b.html")


def test_only_its_own_kind_is_replaced(tmp_path: Path) -> None:
    pixels = results(made(cell("a"), pixel__auroc=0.9), made(cell("b"), pixel__auroc=0.8))
    out = tmp_path / "a.html"
    write_sweep_page(pixels, out)
    write_sweep_page(pixels, out)
    out.write_text("<html>mine</html>")
    with pytest.raises(StorageError, match="is no page of adcli sweep"):
        write_sweep_page(pixels, out)
    with pytest.raises(OptionError, match=r"ends in \.html"):
        write_sweep_page(pixels, tmp_path / "a.pdf")
    with pytest.raises(RunError, match="no run has metrics yet"):
        write_sweep_page(results(Outcome(cell("a"))), tmp_path / "b.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html"]


@pytest.mark.parametrize("digits", [0, 12])
def test_a_curve_is_the_roc_of_the_scores(digits: int) -> None:
    scores = np.random.default_rng(0).normal(LABELS * 1.0, 1).round(digits)
    labels = ["defect" if is_defect else "good" for is_defect in LABELS]
    table = LabelledScores({(f"{i}", labels[i]): float(score) for i, score in enumerate(scores)}, None)
    found = roc_of(table)
    for rate in (0.1, 0.25, 0.5):
        thresholds = [t for t in [*scores, np.inf] if (scores[~LABELS] >= t).mean() <= rate + 1e-12]
        best = max((scores[LABELS] >= t).mean() for t in thresholds)
        at = found[np.argmin(abs(RATES - rate))]
        assert at >= best - 1e-9
        assert digits == 0 or at == pytest.approx(best)
    assert trapezoid(found, RATES) == pytest.approx(auroc(tabulate(scores, LABELS)), abs=0.02)


def test_curves_are_averaged_over_the_runs_that_all_have(swept: SweepResults) -> None:
    curves, count = average_rocs(swept)
    assert [curve.group[0] for curve in curves] == list(MODELS)
    assert count == 4
    by_model = {curve.group[0]: trapezoid(curve.found, RATES) for curve in curves}
    assert by_model["patchcore"] > by_model["dfm"] > by_model["draem"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


@pytest.mark.parametrize("which", ["page", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_the_page_fits_every_width_and_asks_for_nothing(
    request: pytest.FixtureRequest, browser: Any, which: str, width: int, scheme: str
) -> None:
    shown = Shown(browser, request.getfixturevalue(which), width, scheme)
    assert shown.complaints == []
    assert shown.view.evaluate("document.documentElement.scrollWidth") <= width
    paper = shown.view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    shown.view.close()


COLOURS_OF = """() => [...document.querySelectorAll(
  "p, th, td, small, .tag, dt, dd, .plot text, .keys li, h1, h2, button, a, code")]
  .filter((e) => e.textContent.trim() && e.getClientRects().length)
  .map((e) => { const s = getComputedStyle(e); let p = e, b = "rgba(0, 0, 0, 0)";
    while (p && b === "rgba(0, 0, 0, 0)") { b = getComputedStyle(p).backgroundColor; p = p.parentElement; }
    return [e.tagName + "." + e.getAttribute("class"), e.tagName === "text" ? s.fill : s.color, b]; })"""


def parse_colour(text: str, under: np.ndarray) -> np.ndarray:
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)]
    opacity = numbers[3] if len(numbers) > 3 else 1.0
    return opacity * np.array(numbers[:3]) + (1 - opacity) * under


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_can_be_read(browser: Any, page: Path, scheme: str) -> None:
    shown = Shown(browser, page, 1280, scheme)
    paper = parse_colour(shown.view.evaluate("getComputedStyle(document.body).backgroundColor"), np.zeros(3))
    for what, ink, ground in shown.view.evaluate(COLOURS_OF):
        under = parse_colour(ground, paper)
        assert contrast(parse_colour(ink, under), under) >= 4.5, (what, ink, ground)
    shown.view.close()


@pytest.mark.parametrize("width", [390, 1920])
def test_names_in_the_plot_cover_neither_each_other_nor_its_edge(browser: Any, page: Path, width: int) -> None:
    shown = Shown(browser, page, width)
    boxes = shown.view.evaluate(
        "[...document.querySelectorAll('text.label')].map((e) => { const r = e.getBoundingClientRect();"
        " const s = e.ownerSVGElement.getBoundingClientRect();"
        " return [r.left, r.top, r.right, r.bottom, s.left, s.right]; })"
    )
    assert len(boxes) == len(MODELS)
    for one, other in combinations(boxes, 2):
        wide = min(one[2], other[2]) - max(one[0], other[0])
        high = min(one[3], other[3]) - max(one[1], other[1])
        assert min(wide, high) <= 0.35 * (one[3] - one[1]), (one, other)
    assert all(left >= start - 2 and right <= end + 2 for left, _, right, _, start, end in boxes)
    shown.view.close()


def test_the_table_is_sorted_from_the_keyboard(browser: Any, page: Path) -> None:
    shown = Shown(browser, page, 1280)
    button = shown.view.locator(".sorted button", has_text="image AUROC")
    for key, order in (("Enter", 1), (" ", -1)):
        button.focus()
        shown.view.keyboard.press(key)
        values = shown.view.evaluate(
            "[...document.querySelectorAll('.sorted tbody tr')].map((r) => Number(r.cells[1].dataset.key))"
        )
        assert values == sorted(values, reverse=order < 0)
        state = shown.view.evaluate("document.querySelectorAll('.sorted th')[1].getAttribute('aria-sort')")
        assert state == ("ascending" if order > 0 else "descending")
    assert shown.complaints == []
    shown.view.close()


def test_what_scrolls_can_be_reached_with_the_keyboard_and_has_a_name(browser: Any, page: Path) -> None:
    shown = Shown(browser, page, 390)
    regions = shown.view.evaluate(
        "[...document.querySelectorAll('.scroll')].map((e) => [e.tabIndex, e.getAttribute('aria-label')])"
    )
    assert len(regions) == 3
    assert all(index == 0 and name for index, name in regions)
    unnamed = shown.view.evaluate("document.querySelectorAll('svg:not([aria-label]):not([aria-hidden])').length")
    assert unnamed == 0
    shown.view.close()
