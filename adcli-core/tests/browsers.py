"""Pages in a real browser, for the tests of pages."""

import contextlib
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"desktop": 1280, "phone": 390}


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """Start the browser; skip the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=arguments)
        yield started
        started.close()


class Shown:
    """A page that is open in the browser, and all that it complained of or asked the network for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = "light", **options: Any) -> None:
        self.view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
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


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: np.ndarray) -> float:
        part = colour / 255
        return float(
            np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
