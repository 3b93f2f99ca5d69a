"""The page says what was measured, shows errors first, and is complete in itself."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import THRESHOLD, cards, page, part

from adcli.metrics import rates
from adcli.metrics.table import METRICS
from adcli.report import plots
from adcli.report.page import MEANINGS, Card, Cause, broken_promise, grouped, render
from adcli.scoring.calibration import Calibration


def test_errors_come_first_and_the_worst_of_them_before_others() -> None:
    listed = [(group.title, group.word, [card.name for card in group.cards]) for group in grouped(cards())]
    assert listed == [
        ("False alarms", "FALSE ALARM", ["good/alarm.png"]),
        ("Misses", "MISSED", ["dent/missed more.png", "scratch/missed.png"]),
        ("Defects found", "DEFECT", ["scratch/found.png"]),
        ("Good and passed", "GOOD", ["good/passed.png"]),
    ]


def test_without_a_threshold_images_are_sorted_by_score_alone() -> None:
    group, *others = grouped([replace(card, is_defect=None) for card in cards()])
    assert [card.score for card in group.cards] == [3.0, 1.2, 0.5, 0.3, 0.2]
    assert not group.word
    assert not any(other.cards for other in others)


def test_unlabelled_images_are_shown_as_well() -> None:
    groups = grouped([replace(card, label=None) for card in cards()])
    assert [(group.title, len(group.cards)) for group in groups] == [("Called defective", 2), ("Called good", 3)]


class Checked(HTMLParser):
    """Collects what a page refers to, its identifiers and its words, and whether its elements are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.identifiers: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "input", "img"):
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += data.split()


def checked(text: str) -> Checked:
    parser = Checked()
    parser.feed(text)
    assert not parser.open
    return parser


def test_the_page_refers_to_nothing_outside_itself() -> None:
    text = render(page())
    found = checked(text)
    outside = [reference for reference in found.references if not reference.startswith(("data:", "#"))]
    assert not outside
    assert {reference[1:] for reference in found.references if reference.startswith("#")} <= set(found.identifiers)
    assert not re.search(r"@import|url\((?!#)", text)


def test_no_two_elements_share_an_identifier() -> None:
    identifiers = checked(render(page())).identifiers
    assert len(identifiers) == len(set(identifiers))


def test_cards_name_the_zones_that_are_found_defective() -> None:
    shown = [replace(cards()[0], zones=("left", "right")), *cards()[1:]]
    assert render(page(shown)).count("p 0.01, in left, right") == 1
    assert "p 0.01, in " not in render(page())


def test_names_cannot_bring_in_markup() -> None:
    (card, *others) = cards()
    evil = replace(card, name='<img src=x onerror="alert(1)">', kind="<b>'&quot;")
    found = checked(render(page([evil, *others], title="<script>alert(2)</script>")))
    assert "x" not in found.references
    assert found.open == []


def test_the_promise_the_rates_and_every_detail_are_there() -> None:
    shown = page()
    words = " ".join(checked(render(shown)).words)
    assert shown.calibration.promise() in words
    assert "50.0% of 2 good test images rejected (95% interval: 1.3% to 98.7%)" in words
    assert "33.3% of 3 defective ones found" in words
    assert all(f"{name} {value}" in words for name, value in shown.details.items())


def test_kinds_found_least_come_first() -> None:
    words = " ".join(checked(render(page())).words)
    assert words.index("dent 1 0.0%") < words.index("scratch 2 50.0%")


def test_a_run_without_test_images_still_shows_its_promise() -> None:
    nothing = np.empty(0)
    shown = page([], metrics={}, scores=nothing, is_defect=nothing.astype(bool))
    words = " ".join(checked(render(shown)).words)
    assert shown.calibration.promise() in words
    assert "Images" not in words.split()


@pytest.mark.parametrize("scored", [cards(), [], [replace(card, label=None) for card in cards()]])
def test_every_score_is_in_the_page_once_in_the_order_of_the_cards(scored: list[Card]) -> None:
    text = render(
        page(scored, scores=np.array([3.0, 0.5, 0.2, 1.2, 0.3, 0.125]), is_defect=np.array([1, 1, 1, 0, 0, 0], bool))
    )
    known = json.loads(re.search(r'id="known">(.*?)</script>', text)[1])  # type: ignore[index]
    shown = re.findall(r'data-name="([^"]*)"', text)
    by_name = {card.name: card.score for card in scored}
    assert known["scores"][: len(shown)] == [by_name[name] for name in shown]
    labelled = [(label, score) for label, score in zip(known["labels"], known["scores"], strict=True) if label != "u"]
    assert sorted(labelled) == [("d", 0.2), ("d", 0.5), ("d", 3.0), ("g", 0.125), ("g", 0.3), ("g", 1.2)]
    assert (known["calibration"], known["threshold"]) == (list(page().calibration.image_scores), THRESHOLD)
    assert text.count("0.125") == 1


def test_what_each_metric_says_is_said() -> None:
    assert set(MEANINGS) == {metric.label for metric in METRICS}
    metrics = page().metrics | {"pixel": {metric.key: 0.5 for metric in METRICS}}
    text = render(page(metrics=metrics))
    for label, meaning in MEANINGS.items():
        assert f'<abbr title="{meaning}">{label}</abbr>' in text
        assert f"{label} {meaning}" in " ".join(checked(text).words)


def test_the_title_says_what_was_trained_on_what_and_names_the_run() -> None:
    text = render(page())
    assert "<title>patchcore on bottle: 20261123-141502-patchcore-bottle</title>" in text
    assert "<h1>patchcore on bottle</h1>" in text


def test_unreadable_images_are_listed_with_their_reasons_and_count_nowhere() -> None:
    found = checked(render(page(unreadable={"scratch/cut.png": "the file is truncated"})))
    words = " ".join(found.words)
    assert "Unreadable ( 1 )" in words
    assert "scratch/cut.png UNREADABLE the file is truncated" in words
    assert "50.0% of 2 good test images rejected" in words


def test_the_image_that_sets_the_threshold_is_named_shown_and_explained() -> None:
    cause = Cause("good/odd.png", 25.557, 17.17, ["It lies far from the others."], part().photo)
    text = render(page(cause=cause, made="Calibration 2 of 2."))
    words = " ".join(checked(text).words)
    assert "good/odd.png, score 25.557; the next lower one is 17.17, the lowest 0 It lies" in words
    assert "It lies far from the others." in words
    assert "Calibration 2 of 2." in words
    assert f'<img src="{part().photo}"' in text


def test_a_part_of_the_images_is_called_that() -> None:
    assert "5 of 900 images are shown" in " ".join(checked(render(page(tested=900))).words)


@pytest.mark.parametrize(("rejected", "warned"), [(5, False), (9, False), (12, False), (16, True), (40, True)])
def test_a_broken_promise_is_said_where_chance_does_not_explain_it(rejected: int, warned: bool) -> None:
    calibration = Calibration.conformal(np.linspace(0, 1, 99), None, 0.05, "held-out")
    scores = np.array([2.0] * rejected + [0.0] * (100 - rejected))
    metrics = {"image": rates(scores, np.zeros(100, bool), 1.0)}
    said = broken_promise(calibration, metrics, "adcli calibrate 'a run'")
    assert said.endswith("today: adcli calibrate 'a run' --data DIR") == bool(said) == warned


def test_a_threshold_that_promises_nothing_cannot_be_broken() -> None:
    metrics = {"image": rates(np.ones(100), np.zeros(100, bool), 0.5)}
    assert not broken_promise(Calibration.at_value(0.5, [0.1], None, 0.01), metrics, "")


def test_the_same_page_is_the_same_text() -> None:
    assert render(page()) == render(page())


def heights(svg: str, colour: str) -> list[float]:
    """Return the heights of the bars of one colour, each once, from the lowest."""
    (path,) = re.findall(rf'<path d="([^"]*)"[^>]*clip-path[^>]*fill: var\(--{colour}\)[^>]*opacity', svg)
    down = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)[:, 1]
    return sorted({float(height) for height in down.max() - down if height})


def test_bars_are_as_high_as_there_are_images() -> None:
    scores = np.array([0.0] * 4 + [1.0] * 8 + [2.0] * 6)
    is_defect = np.array([False] * 12 + [True] * 6)
    svg = plots.histogram(scores, is_defect, np.empty(0), 1.5)
    low, high = heights(svg, "good")
    (defective,) = heights(svg, "defect")
    assert np.array([high, defective]) / low == pytest.approx([2, 1.5], abs=0.01)


@pytest.mark.parametrize("scores", [np.zeros(4), np.array([-1e9, 0, 1e9, 3.0]), np.array([1e-9, 1e-8, 1.0, 1e6])])
def test_any_scores_can_be_drawn(scores: np.ndarray) -> None:
    is_defect = np.array([False, False, True, True])
    for svg in (
        plots.histogram(scores, is_defect, scores[:2], float(scores[1])),
        plots.roc(scores, is_defect, None),
        plots.precision_recall(scores, is_defect, float(scores.max())),
    ):
        assert svg.startswith("<svg")
        assert "nan" not in svg.lower()


def test_plots_use_the_colours_of_the_page_alone() -> None:
    svg = plots.histogram(np.arange(4.0), np.array([False, True] * 2), np.arange(3.0), 1.0)
    assert not re.search(r"(?<!\()#[0-9a-fA-F]{6}", svg)


def test_close_ups_are_shown_and_explained_where_there_are_any() -> None:
    close = "data:image/webp;base64,AAAA"
    small, plain = replace(cards()[0], picture=replace(part(), close=close)), cards()[1]
    with_one = render(page([small, plain]))
    assert with_one.count(f'class="close-up" src="{close}" alt="Close-up of {small.name}"') == 1
    assert "Close-up:" in with_one
    without = render(page([plain]))
    assert "Close-up" not in without
