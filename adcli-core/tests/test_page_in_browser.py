"""The page in a real browser: quick to open, silent, readable on a desk and in a hand, by day and by night."""

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import DEFECT, PHOTO, SIDE, cards, page, part
from PIL import Image

from adcli.report.page import Card, render

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=BROWSER, args=arguments)
        yield launched
        launched.close()


class Shown:
    """A page that is open in the browser, and all that it complained of or asked the network for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = "light") -> None:
        self.view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.view.on("console", lambda message: self.complaints.append(message.text))
        self.view.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.view.on("request", self._note_request)
        start = time.perf_counter()
        self.view.goto(path.absolute().as_uri(), wait_until="load")
        self.seconds = time.perf_counter() - start

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(request.url)

    def pixels(self, selector: str) -> np.ndarray:
        """Return what an element looks like, (H, W, 3)."""
        element = self.view.locator(selector).first
        element.scroll_into_view_if_needed()
        return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"), int)

    def visible(self, selector: str) -> list[str]:
        return [self._text(element) for element in self.view.locator(selector).all() if element.is_visible()]

    def _text(self, element: Any) -> str:
        # What lies off the screen has no text until it is laid out.
        element.scroll_into_view_if_needed()
        text: str = element.inner_text()
        return text


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render(page()), encoding="utf-8")
    return file


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
    picture = shown.pixels("[data-words*='missed.png'] svg")
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
    picture = shown.pixels("[data-words*='missed.png'] svg")
    scale = picture.shape[1] / (2 * SIDE + 8)
    right = picture[10:-10, round((SIDE + 8) * scale) + 10 : -10]
    assert np.abs(right - np.array(PHOTO)).max() < 25


def test_cards_can_be_searched(shown: Shown) -> None:
    shown.view.get_by_label("Find images").fill("SCRATCH miss")
    assert [text.splitlines()[0] for text in shown.visible(".card")] == ["scratch/missed.png"]
    assert len(shown.visible(".group")) == 1
    shown.view.get_by_label("Find images").fill("")
    assert len(shown.visible(".card")) == len(cards())


def test_details_can_be_searched(shown: Shown) -> None:
    shown.view.get_by_label("Find a setting or record").fill("coreset")
    assert [text.split() for text in shown.visible(".details tr")] == [["options.coreset", "0.1"]]


def test_a_card_can_be_enlarged_by_keyboard(shown: Shown) -> None:
    small = shown.pixels("[data-words*='found.png'] svg")
    shown.view.locator("[data-words*='found.png'] button").focus()
    shown.view.keyboard.press("Enter")
    assert shown.view.locator("dialog").is_visible()
    large = shown.pixels("dialog svg")
    assert all(after > before for after, before in zip(large.shape[:2], small.shape[:2], strict=True))
    shown.view.keyboard.press("Escape")
    assert not shown.view.locator("dialog").is_visible()


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: np.ndarray) -> float:
        part = colour / 255
        return float(
            np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_words_and_plots_stand_out_in_both_colour_schemes(browser: Any, path: Path, scheme: str, width: int) -> None:
    opened = Shown(browser, path, width, scheme)
    for selector in ("h1", ".tile", "figure", "table", ".card div", ".details"):
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
    assert len(opened.visible(".card")) == len(cards())
    paper = opened.view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.view.pdf(format="A4").startswith(b"%PDF")
    opened.view.close()


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
