"""The page in a real browser: quick to open, silent, readable on a desk and in a hand, by day and by night."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import WIDTHS, Shown, contrast, launched
from pages import DEFECT, PHOTO, SIDE, THRESHOLD, cards, page, part

from adcli.metrics import rates
from adcli.report.page import Card, Cause, Page, grouped, render
from adcli.scoring.calibration import Calibration

OTHER_WIDTHS = (390, 600, 768, 1024, 1920)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


FULL = page(
    made="Calibration 2 of 2, made on 2026-11-23.",
    unreadable={"scratch/cut off.png": "the file is truncated"},
    cause=Cause("train/good/061.png", THRESHOLD, 0.8, ["It lies far from the others."], part().photo),
)


def written(folder: Path, shown: Page) -> Path:
    file = folder / "report.html"
    file.write_text(render(shown), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page"), FULL)


@pytest.fixture(params=WIDTHS)
def shown(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Shown]:
    opened = Shown(browser, path, WIDTHS[request.param])
    yield opened
    assert not opened.complaints
    opened.view.close()


def test_nothing_is_wider_than_the_screen(shown: Shown) -> None:
    width = shown.view.evaluate("document.documentElement.scrollWidth")
    assert width <= shown.view.viewport_size["width"]


def test_a_card_shows_photograph_heat_map_and_both_outlines(shown: Shown) -> None:
    picture = shown.pixels("[data-name*='found.png'] svg")
    scale = picture.shape[1] / (2 * SIDE + 8)
    rows, columns = (slice(round(part.start * scale), round(part.stop * scale)) for part in DEFECT)
    left, right = picture[:, : round(SIDE * scale)], picture[:, round((SIDE + 8) * scale) :]
    inner = (slice(rows.start + 8, rows.stop - 8), slice(columns.start + 8, columns.stop - 8))
    assert left[inner].mean(axis=(0, 1)) == pytest.approx(PHOTO, abs=6)
    red, _, blue = right[inner].mean(axis=(0, 1))
    assert red > blue + 40
    around = (slice(rows.start - 4, rows.stop + 4), slice(columns.start - 4, columns.stop + 4))
    assert on_a_frame(left[around], (0, 229, 255)) > 0.5
    assert on_a_frame(right[around], (255, 255, 255)) > 0.5


def on_a_frame(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Return how much of a frame that a line of a colour draws around the middle is there."""
    like = np.abs(pixels - np.array(colour)).max(axis=2) < 60
    middle = like[8:-8, 8:-8]
    assert middle.mean() < 0.2
    sides = (like[:8].any(axis=0), like[-8:].any(axis=0), like[:, :8].any(axis=1), like[:, -8:].any(axis=1))
    return float(np.mean(np.concatenate(sides)))


def test_heat_maps_and_outlines_can_be_taken_away(shown: Shown) -> None:
    shown.view.get_by_label("heat maps").uncheck()
    shown.view.get_by_label("outlines").uncheck()
    picture = shown.pixels("[data-name*='missed.png'] svg")
    scale = picture.shape[1] / (2 * SIDE + 8)
    right = picture[10:-10, round((SIDE + 8) * scale) + 10 : -10]
    assert np.abs(right - np.array(PHOTO)).max() < 25


def names_in(opened: Shown) -> list[str]:
    """Return the names on the cards that can be seen, on the screen or further down."""
    return opened.view.evaluate(  # type: ignore[no-any-return]
        """[...document.querySelectorAll('.card')].filter((card) => card.checkVisibility())
            .map((card) => card.querySelector('.name').textContent)"""
    )


@pytest.mark.parametrize(
    ("sought", "expected"),
    [
        ("SCRATCH miss", {"scratch/missed.png"}),
        ("missed more", {"dent/missed more.png"}),
        ("MISSED", {"scratch/missed.png", "dent/missed more.png"}),
        ("False Alarm", {"good/alarm.png"}),
        ("defect", {"scratch/found.png"}),
        ("good", {"good/alarm.png", "good/passed.png"}),
        ("passed", {"good/passed.png"}),
        ("dent", {"dent/missed more.png"}),
        ("unreadable", {"scratch/cut off.png"}),
        ("truncated", {"scratch/cut off.png"}),
        ("no such", set()),
    ],
)
def test_a_search_finds_by_name_kind_and_verdict(browser: Any, path: Path, sought: str, expected: set[str]) -> None:
    opened = Shown(browser, path, WIDTHS["desktop"])
    opened.view.get_by_label("Find images").fill(sought)
    assert set(names_in(opened)) == expected
    assert bool(opened.visible(".group")) == bool(expected)
    said = opened.view.locator("#images-found").inner_text()
    if expected:
        assert said == f"{len(expected)} of {len(cards()) + 1}"
    else:
        assert said.startswith(f"Nothing is found for “{sought}”. A search looks at names, kinds and verdicts: good,")
    opened.view.get_by_label("Find images").fill("")
    assert len(opened.visible(".card")) == len(cards()) + 1
    assert not opened.view.locator("#images-found").inner_text()
    assert not opened.complaints
    opened.view.close()


def test_details_can_be_searched(shown: Shown) -> None:
    shown.view.get_by_label("Find a setting or record").fill("coreset")
    assert [text.split() for text in shown.visible(".details tr")] == [["options.coreset", "0.1"]]


def test_a_setting_that_is_not_there_is_said_to_be_not_found(shown: Shown) -> None:
    shown.view.get_by_label("Find a setting or record").fill("nothing such")
    assert not shown.visible(".details tr")
    assert shown.view.locator("#details-found").inner_text().startswith("Nothing is found for “nothing such”")


def test_a_card_can_be_enlarged_by_keyboard(shown: Shown) -> None:
    small = shown.pixels("[data-name*='found.png'] svg")
    shown.view.locator("[data-name*='found.png'] button").focus()
    shown.view.keyboard.press("Enter")
    assert shown.view.locator("dialog").is_visible()
    large = shown.pixels("dialog svg")
    assert all(after > before for after, before in zip(large.shape[:2], small.shape[:2], strict=True))
    shown.view.keyboard.press("Escape")
    assert not shown.view.locator("dialog").is_visible()


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_words_and_plots_stand_out_in_both_colour_schemes(browser: Any, path: Path, scheme: str, width: int) -> None:
    opened = Shown(browser, path, width, scheme)
    opened.view.locator("#slider").press("Home")
    selectors = (
        "h1",
        ".tile",
        ".cause div",
        ".counts",
        "#try",
        ".warning",
        ".plots figure",
        ".card .words",
        ".details",
    )
    for selector in selectors:
        seen = opened.pixels(selector)
        colours, counts = np.unique(seen.reshape(-1, 3), axis=0, return_counts=True)
        paper = colours[counts.argmax()]
        assert (paper.mean() > 128) == (scheme == "light"), selector
        assert max(contrast(paper, colour) for colour in colours) > 4.5, selector
    assert not opened.complaints
    opened.view.close()


def test_printing_shows_everything_but_the_tools(browser: Any, path: Path) -> None:
    opened = Shown(browser, path, WIDTHS["desktop"], "dark")
    opened.view.emulate_media(media="print", color_scheme="dark")
    assert not opened.visible(".tools")
    assert not opened.visible(".trying")
    assert len(opened.visible(".card")) == len(cards()) + 1
    paper = opened.view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.view.pdf(format="A4").startswith(b"%PDF")
    opened.view.close()


@pytest.mark.parametrize("width", OTHER_WIDTHS)
def test_while_a_threshold_is_tried_nothing_is_wider_than_the_screen(browser: Any, path: Path, width: int) -> None:
    opened = Shown(browser, path, width)
    for key in ("Home", "End"):
        opened.view.locator("#slider").press(key)
        assert opened.view.evaluate("document.documentElement.scrollWidth") <= width
    opened.view.close()


def groups_in(opened: Shown) -> list[tuple[str, list[list[str]]]]:
    """Return the visible groups of the page: their headings, and of each card its name and its verdict."""
    return opened.view.evaluate(  # type: ignore[no-any-return]
        """[...document.querySelectorAll('.group[data-key]:not([hidden])')].map((group) => [
            group.querySelector('h3').textContent,
            [...group.querySelectorAll('.card')].map((card) =>
                [card.dataset.name, card.querySelector('.verdict').textContent])])"""
    )


def groups_of(listed: list[Card], threshold: float) -> list[tuple[str, list[list[str]]]]:
    """Return the same for cards at a threshold."""
    judged = [replace(card, is_defect=card.score > threshold) for card in listed]
    return [
        [f"{group.title} ({len(group.cards)})", [[card.name, group.word] for card in group.cards]]  # type: ignore[misc]
        for group in grouped(judged)
        if group.cards
    ]


def marks_in(opened: Shown) -> dict[str, list[float]]:
    """Return the middle of what shows the threshold in each plot, relative to the plot; nothing of one not shown."""
    return opened.view.evaluate(  # type: ignore[no-any-return]
        """Object.fromEntries([...document.querySelectorAll('[id$=-threshold]')].flatMap((mark) => {
            if (mark.style.display === 'none') return [];
            const [own, whole] = [mark.getBoundingClientRect(), mark.closest('svg').getBoundingClientRect()];
            return [[mark.id, [own.left + own.width / 2 - whole.left, own.top + own.height / 2 - whole.top]]];
        }))"""
    )


@pytest.mark.parametrize("factor", [1, 100], ids=["linear", "logarithmic"])
def test_at_every_step_the_page_says_what_that_threshold_does(browser: Any, tmp_path: Path, factor: float) -> None:
    # With a factor, one score lies so far from the others that the axis is logarithmic.
    listed = [replace(card, score=card.score * (factor if card.score == 3.0 else 1)) for card in cards()]
    plain = page(listed)
    calibration = Calibration.conformal(np.linspace(0.05, THRESHOLD, 20), None, 0.05, "held-out")
    plain = replace(plain, calibration=calibration)
    opened = Shown(browser, written(tmp_path, plain), WIDTHS["desktop"])
    slider = opened.view.get_by_role("slider", name="Try another threshold")
    steps = sorted({*plain.scores.tolist(), *calibration.image_scores})
    slider.press("Home")
    for threshold in steps:
        does, n = rates(plain.scores, plain.is_defect, threshold), calibration.n
        cells = [int(cell.inner_text()) for cell in opened.view.locator("[data-count]").all()]
        names = ("true_positives", "false_negatives", "false_positives", "true_negatives")
        assert cells == [does[name] for name in names]
        above = sum(score > threshold for score in calibration.image_scores)
        said = opened.view.locator("[data-said=promise]").inner_text()
        assert said.startswith(f"{above} of {n} good calibration images ({above / n:.1%}) lie above it.")
        assert f"at most {(above + 1) / (n + 1):.1%} ({above + 1} in {n + 1})" in said or above == n
        assert groups_in(opened) == groups_of(listed, threshold)
        spoken = slider.get_attribute("aria-valuetext")
        assert spoken.startswith(f"{threshold:.6g}")
        assert f"{cells[0]} of 3 defective found, {cells[1]} missed; {cells[2]} of 2 good rejected" in spoken
        command = opened.view.locator("[data-said=command]").text_content()
        if threshold == THRESHOLD:
            assert not command
        else:
            start, _, value = command.rpartition(" ")
            assert start == "adcli calibrate 20261123-141502-patchcore-bottle --threshold"
            assert float(value) == threshold
        slider.press("ArrowRight")
    assert opened.view.evaluate("document.activeElement.id") == "slider"
    assert not opened.complaints
    opened.view.close()


@pytest.mark.thorough
@pytest.mark.parametrize("factor", [1, 100], ids=["linear", "logarithmic"])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.2])
def test_plots_show_the_threshold_where_they_would_be_drawn_with_it(
    browser: Any, tmp_path: Path, threshold: float, factor: float
) -> None:
    plain = page([replace(card, score=card.score * (factor if card.score == 3.0 else 1)) for card in cards()])
    scores = np.linspace(0.1, THRESHOLD, 20)
    moved, drawn = (
        Shown(browser, written(tmp_path, replace(plain, calibration=calibration)), WIDTHS["desktop"])
        for calibration in (
            Calibration.conformal(scores, None, 0.05, "held-out"),
            Calibration.at_value(threshold, scores, None, 0.05),
        )
    )
    moved.view.locator("#slider").press("Home")
    while moved.view.locator("[data-said=value]").first.text_content() != f"{threshold:g}":
        moved.view.locator("#slider").press("ArrowRight")
    expected, found = marks_in(drawn), marks_in(moved)
    assert len(expected) == 3
    for name, middle in expected.items():
        assert found[name] == pytest.approx(middle, abs=1), name
    moved.view.close()
    drawn.view.close()


def test_above_all_scores_nothing_is_found_and_there_is_no_precision(browser: Any, path: Path) -> None:
    opened = Shown(browser, path, WIDTHS["desktop"])
    opened.view.locator("#slider").press("End")
    assert [cell.inner_text() for cell in opened.view.locator("[data-count]").all()] == ["0", "3", "0", "2"]
    assert set(marks_in(opened)) == {"histogram-threshold", "roc-threshold"}
    opened.view.close()


def test_reset_brings_the_page_back(shown: Shown) -> None:
    before = shown.view.locator("main").text_content().split()
    reset = shown.view.get_by_role("button", name="Back to the run's own")
    assert reset.is_disabled()
    for key in ("Home", "End", "PageDown"):
        shown.view.locator("#slider").press(key)
        assert shown.view.locator("main").text_content().split() != before
        assert shown.view.locator(".warning").is_visible()
        reset.click()
        assert shown.view.locator("main").text_content().split() == before
        assert not shown.view.locator(".warning").is_visible()
        assert shown.view.evaluate("document.activeElement.id") == "slider"


def test_a_search_goes_on_while_a_threshold_is_tried(shown: Shown) -> None:
    shown.view.get_by_label("Find images").fill("false alarm")
    names = []
    for key in ("Home", "End"):
        shown.view.locator("#slider").press(key)
        names.append(names_in(shown))
    assert names == [["good/alarm.png", "good/passed.png"], []]
    assert shown.view.locator("#images-found").inner_text().startswith("Nothing is found")


def test_an_image_that_a_tried_threshold_passes_has_no_outline(shown: Shown) -> None:
    outline = shown.view.locator("[data-name='scratch/found.png'] .outlined")
    assert outline.is_visible()
    shown.view.locator("#slider").press("End")
    assert not outline.is_visible()


def test_without_test_images_the_slider_moves_over_the_scores_of_good_images(browser: Any, tmp_path: Path) -> None:
    nothing = np.empty(0)
    bare = page([], metrics={}, scores=nothing, is_defect=nothing.astype(bool))
    opened = Shown(browser, written(tmp_path, bare), WIDTHS["phone"])
    slider = opened.view.get_by_role("slider", name="Try another threshold")
    slider.press("ArrowLeft")
    scores = bare.calibration.image_scores
    assert float(opened.view.locator("[data-said=command]").inner_text().split()[-1]) == scores[-2]
    said = "1 of 20 good calibration images (5.0%) lie above it. As a false-alarm rate: at most 9.5% (2 in 21)."
    assert opened.view.locator("[data-said=promise]").inner_text() == said
    assert not opened.view.locator(".counts").count()
    assert not opened.complaints
    opened.view.close()


def test_with_zones_the_rate_is_that_of_the_smallest_p_value_above(browser: Any, tmp_path: Path) -> None:
    random, names = np.random.default_rng(0), [f"{i}.png" for i in range(9)]
    zones = {
        zone: Calibration.conformal(scores, None, 0.1, "held-out").of_images(
            [(float(score), name, name) for score, name in zip(scores, names, strict=True)]
        )
        for zone, scores in (("left", random.normal(size=9)), ("right", random.normal(size=9)))
    }
    calibration = Calibration.of_zones(zones, 0.2)
    nothing = np.empty(0)
    bare = page([], metrics={}, scores=nothing, is_defect=nothing.astype(bool), calibration=calibration)
    opened = Shown(browser, written(tmp_path, bare), WIDTHS["desktop"])
    slider = opened.view.get_by_role("slider", name="Try another threshold")
    slider.press("End")
    for threshold in sorted({*calibration.image_scores}, reverse=True):
        said = opened.view.locator("[data-said=promise]").inner_text()
        above = calibration.p_value(np.nextafter(threshold, np.inf))
        assert above is not None
        assert (f"at most {above:.1%} " in said) == (above < 1)
        slider.press("ArrowLeft")
    assert not opened.complaints
    opened.view.close()


def test_without_a_threshold_one_can_be_tried_and_taken_back(browser: Any, tmp_path: Path) -> None:
    unjudged = [replace(card, is_defect=None) for card in cards()]
    opened = Shown(browser, written(tmp_path, page(unjudged, calibration=Calibration.none())), WIDTHS["desktop"])
    before = groups_in(opened)
    assert [name for name, _ in before] == ["Images by score (5)"]
    assert not opened.view.locator(".counts").is_visible()
    slider = opened.view.locator("#slider")
    slider.press("ArrowLeft")
    assert groups_in(opened) == groups_of(cards(), 1.2)
    assert opened.view.locator(".counts").is_visible()
    opened.view.get_by_role("button", name="Back to the run's own").click()
    assert groups_in(opened) == before
    assert not opened.view.locator(".counts").is_visible()
    assert not opened.complaints
    opened.view.close()


def test_without_scripts_the_page_shows_the_run_and_no_slider(browser: Any, path: Path) -> None:
    opened = Shown(browser, path, WIDTHS["desktop"], java_script_enabled=False)
    assert not opened.visible(".trying")
    assert not opened.visible("[data-only=tried]")
    # A page without scripts cannot be asked to scroll.
    assert opened.view.locator(".card").count() == len(cards()) + 1
    assert [cell.text_content() for cell in opened.view.locator("[data-count]").all()] == ["1", "2", "1", "1"]
    assert all(opened.view.locator(f".verdict:text-is('{word}')").is_visible() for word in ("FALSE ALARM", "DEFECT"))
    opened.view.close()


def test_printed_while_a_threshold_is_tried_the_page_says_so(browser: Any, path: Path) -> None:
    opened = Shown(browser, path, WIDTHS["desktop"])
    opened.view.locator("#slider").press("Home")
    opened.view.emulate_media(media="print")
    assert not opened.visible(".trying")
    assert "You are trying a threshold of 0." in opened.view.locator(".warning").inner_text()
    opened.view.close()


@pytest.mark.thorough
def test_six_hundred_images_open_in_two_seconds_and_take_less_than_15_mb(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    # Noise is what compresses worst.
    pictures = [part(noise=1, seed=seed) for seed in range(60)]
    listed = [Card(f"good/{i:03}.png", "good", None, i / 600, 0.5, i > 540, pictures[i % 60]) for i in range(600)]
    file.write_text(render(page(listed)), encoding="utf-8")
    assert file.stat().st_size < 15e6
    seconds = []
    for width in WIDTHS.values():
        opened = Shown(browser, file, width)
        assert opened.view.locator(".card").count() == 600
        assert not opened.complaints
        seconds.append(opened.seconds)
        opened.view.close()
    assert min(seconds) < 2
