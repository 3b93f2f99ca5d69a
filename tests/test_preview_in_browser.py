"""The page of ``adcli preview`` in a real browser: the copied command trains on what is dragged, painted and seen."""

import io
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import WIDTHS, Shown, contrast, launched
from pages import photograph as photograph_in
from PIL import Image
from support import Adcli

from adcli import pipeline
from adcli.data.coverage import choose_size, find_typical, say_coverage
from adcli.data.decoding import read_image
from adcli.data.framing import Framing, Zone, read_ignored
from adcli.data.framing_standalone import find_borders, lay_out, scale_flags
from adcli.data.resampling import resample
from adcli.data.tiling import Tiling, choose_tiles
from adcli.runs.run import Run

SIZE = (240, 320)
"""Height and width of the photographs, which are on the page as they are."""

SMALL = (
    [*itertools.product((16, 64, 255), (31, 64, 200))],
    [(1, 1), (3, 1), (2, 5)],
    [0.0, 0.125, 0.3, 0.5],
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


def photograph(seed: int) -> np.ndarray:
    """Return a photograph in colours whose every place looks another way."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = np.stack([np.sin(x / 7), np.sin(y / 5), np.sin((x + y) / 11)], axis=-1)
    pixels: np.ndarray = (120 + 60 * waves + random.normal(0, 20, (*SIZE, 3))).clip(0, 255).astype(np.uint8)
    return pixels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photographs, in the folder where commands start."""
    (tmp_path / "my photos").mkdir()
    for i in range(12):
        Image.fromarray(photograph(i)).save(tmp_path / f"my photos/{i:02}.png")
    return Path("my photos")


@pytest.fixture
def preview(adcli: Adcli, browser: Any, photos: Path, tmp_path: Path) -> Iterator[Callable[..., "Preview"]]:
    """Write a page and open it."""
    opened = []

    def show(*flags: object, width: int = 1280, scheme: str = "light", **options: Any) -> "Preview":
        outcome = adcli("preview", photos, "--out", "page.html", "--model", "padim", *flags)
        assert outcome.code == 0, outcome.err
        shown = Preview(browser, tmp_path / "page.html", width, scheme, **options)
        shown.view.wait_for_selector(".view canvas")
        opened.append(shown)
        return shown

    yield show
    for shown in opened:
        assert not shown.complaints
        shown.view.close()


@pytest.fixture(scope="module")
def evaluate(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Compute with the functions of a page's script."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "photos").mkdir()
    Image.fromarray(photograph(0)).save(folder / "photos/0.png")
    pipeline.preview(pipeline.TrainSettings(model="padim", data=str(folder / "photos")), folder / "page.html")
    shown = Preview(browser, folder / "page.html", 1280)
    shown.view.wait_for_selector(".view canvas")
    yield shown.view.evaluate
    shown.view.close()


class Preview(Shown):
    """The page, and what people do with it."""

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return where on the screen a point of the photograph is."""
        box = self.view.locator("#stage").bounding_box()
        return box["x"] + x / SIZE[1] * box["width"], box["y"] + y / SIZE[0] * box["height"]

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag from one point of the photograph over others."""
        self.view.locator("#stage").scroll_into_view_if_needed()
        mouse = self.view.mouse
        mouse.move(*self.point(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.point(*point), steps=5)
        mouse.up()

    def choose(self, mode: str) -> None:
        self.view.get_by_text(mode, exact=True).click()

    @property
    def command(self) -> list[str]:
        return shlex.split(self.view.locator("#command").text_content())

    def flag(self, name: str) -> str | None:
        """Return the value of a flag of the command; None without it."""
        words = self.command
        return words[words.index(name) + 1] if name in words else None

    def regions(self) -> list[tuple[int, ...]]:
        """Return the boxes of the command's regions."""
        words = self.command
        values = [word.rpartition("=")[2] for flag, word in itertools.pairwise(words) if flag == "--region"]
        return [tuple(map(int, value.split(","))) for value in values]

    def region(self) -> tuple[int, ...]:
        (box,) = self.regions()
        return box

    def seen(self, zone: int = 0) -> np.ndarray:
        """Return what the model sees of a zone, (h, w, 3), after it has been drawn."""
        self.view.wait_for_function("waiting === 0")
        uri = self.view.evaluate("(i) => document.querySelectorAll('.view canvas')[i].toDataURL()", zone)
        return np.asarray(photograph_in(uri).convert("RGB"))

    def save(self, folder: Path) -> Path:
        """Save the picture of ignored areas."""
        with self.view.expect_download() as started:
            self.view.get_by_role("button", name="Save the picture").click()
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path

    def area_said(self) -> list[str]:
        return [line.text_content() for line in self.view.locator("#seen-said p").all()]


def assert_alike(seen: np.ndarray, expected: np.ndarray) -> None:
    """Check that pixels are the same but for what floats leave undecided between two levels."""
    assert seen.shape == expected.shape
    difference = np.abs(seen.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


CHOICES: dict[str, dict[str, str]] = {
    "the model's own size": {},
    "letterbox": {"#fit": "letterbox"},
    "auto size": {"#size-how": "auto"},
    "two zones": {"zones": "two"},
    "tiles of two zones in a letterbox": {
        "zones": "two", "#fit": "letterbox", "#size-how": "auto", "#tiles-how": "other", "#columns": "2",
    },
    "auto tiles": {"#size-how": "other", "#size-height": "48", "#size-width": "32", "#tiles-how": "auto"},
    "tiles of a letterbox": {
        "#fit": "letterbox", "#size-how": "other", "#size-height": "64", "#size-width": "64",
        "#tiles-how": "other", "#columns": "2", "#rows": "3", "#overlap": "0.3",
    },
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_the_copied_command_trains_what_was_seen(
    preview: Callable[..., Preview], adcli: Adcli, tmp_path: Path, choices: dict[str, str]
) -> None:
    page, several = preview(), choices.get("zones") == "two"
    page.drag((40, 30), (250, 200))
    if several:
        page.drag((260, 20), (310, 230))
        page.view.get_by_label("name of zone zone1").fill("left")
        page.view.keyboard.press("Tab")
    boxes = page.regions()
    for box, corners in zip(boxes, [(40, 30, 250, 200), (260, 20, 310, 230)][: 1 + several], strict=True):
        assert (*box[:2], box[0] + box[2], box[1] + box[3]) == pytest.approx(corners, abs=1)
    page.choose("Ignore")
    page.drag((60, 60), (120, 60), (120, 110))
    page.choose("Rub out")
    page.drag((100, 60), (101, 60))
    for selector, value in ((key, value) for key, value in choices.items() if key != "zones"):
        field = page.view.locator(selector)
        field.select_option(value) if field.evaluate("(e) => e.localName") == "select" else field.fill(value)
    saved = page.save(tmp_path)
    page.view.get_by_role("button", name="Copy").click()
    page.view.get_by_text("Copied.").wait_for()
    page.view.locator("#ignore-file").evaluate("(field) => { field.value = ''; field.focus(); }")
    page.view.keyboard.press("Control+V")
    copied = shlex.split(page.view.locator("#ignore-file").input_value())
    assert copied[:2] == ["adcli", "train"]

    outcome = adcli(
        *copied[1:], "--backbone", "random:resnet18", "-o", "layers=3", "--calibration", "none", "--out", "run"
    )
    assert outcome.code == 0, outcome.err
    run = Run.open(tmp_path / "run")
    framing = run.framing
    assert [zone.region for zone in framing.of_zones] == boxes
    assert [zone.name for zone in framing.zones] == (["left", "zone2"] if len(boxes) > 1 else [])
    assert framing.fit == choices.get("#fit", "squash")
    assert framing.ignored is not None
    assert np.array_equal(framing.ignored, read_ignored(saved))
    for marked, place in ((True, (60, 60)), (True, (120, 110)), (False, (100, 60)), (False, (60, 110))):
        assert framing.ignored[place[1], place[0]] == marked, place
    for number in (0, 5):
        page.view.locator("[data-shot]").nth(number).click()
        name = page.view.locator("[data-shot]").nth(number).get_attribute("title")
        page.view.wait_for_function(f"document.querySelector('#photo-said').textContent.startsWith('{name}')")
        expected = framing.fitted(read_image(tmp_path / "my photos" / name), run.image_size, name)
        assert_alike(np.concatenate([page.seen(zone) for zone in range(len(boxes))]), expected)


def test_flags_that_were_given_come_back(preview: Callable[..., Preview], tmp_path: Path) -> None:
    ignored = np.zeros((60, 80), bool)
    ignored[10:20, 10:50] = True
    Image.fromarray(ignored).save(tmp_path / "a clock.png")
    zones = ["--region", "left=0,0,100,200", "--region", "right=180,40,120,160"]
    flags = ["--fit", "letterbox", "--tiles", "2x3", "--tile-overlap", "0.33", "--image-size", "48x64"]
    flags += ["--ignore", "a clock.png"]
    page = preview(*zones, *flags)
    assert page.command == ["adcli", "train", "--model", "padim", "--data", "my photos", *zones, *flags]
    assert not page.view.locator("#copy-said").text_content()
    framing = Framing((180, 40, 120, 160), None, "letterbox", ignored, tiling=Tiling(2, 3, 0.33))
    assert_alike(page.seen(1), framing.fitted(photograph(0), (48, 64), ""))
    page.choose("Ignore")
    page.drag((200, 100), (210, 100))
    assert "Save the picture" in page.view.locator("#copy-said").text_content()


def test_auto_is_said_in_numbers(preview: Callable[..., Preview]) -> None:
    page = preview("--image-size", "auto", "--tiles", "auto", "--region", "0,0,320,60")
    part, framing = (60, 320), Framing()
    size = choose_size(part, (256, 256), framing, 32)
    columns, rows = choose_tiles(part, size, 0.125)
    tiles = f"{columns}x{rows}" if columns * rows > 1 else None
    assert (page.flag("--image-size"), page.flag("--tiles")) == (f"{size[0]}x{size[1]}", tiles)


def test_several_zones_are_named_renamed_and_removed(preview: Callable[..., Preview]) -> None:
    page = preview()
    page.drag((10, 10), (100, 100))
    assert re.fullmatch(r"\d+,\d+,\d+,\d+", page.flag("--region") or "")
    page.drag((150, 100), (300, 220))
    regions = [word for word in page.command if "=" in word]
    assert [region.partition("=")[0] for region in regions] == ["zone1", "zone2"]
    page.view.get_by_label("name of zone zone2").fill("zone1")
    page.view.keyboard.press("Tab")
    assert [word.partition("=")[0] for word in page.command if "=" in word] == ["zone1", "zone1-2"]
    page.view.locator("#zones tbody input[type=text]").first.fill("left side/ä")
    page.view.keyboard.press("Tab")
    assert [word.partition("=")[0] for word in page.command if "=" in word] == ["left-side-ä", "zone1-2"]
    page.view.get_by_label("x of zone").last.fill("9999")
    page.view.keyboard.press("Tab")
    x, _, width, _ = map(
        int, next(word for word in page.command if word.startswith("zone1-2=")).split("=")[1].split(",")
    )
    assert x + width == SIZE[1]
    assert len(page.area_said()) == 2
    page.view.get_by_role("button", name="Remove all").click()
    assert page.flag("--region") is None
    page.view.keyboard.press("Control+Z")
    assert [word.partition("=")[0] for word in page.command if "=" in word] == ["left-side-ä", "zone1-2"]


@pytest.mark.parametrize(
    ("handle", "to", "expected"),
    [
        ("nw", (80, 60), (80, 60, 120, 120)),
        ("n", (0, 20), (100, 20, 100, 160)),
        ("e", (320, 0), (100, 80, 220, 100)),
        ("se", (20, 20), (100, 80, 16, 16)),
        ("w", (310, 0), (184, 80, 16, 100)),
    ],
)
def test_a_handle_resizes_a_zone(
    preview: Callable[..., Preview], handle: str, to: tuple[int, int], expected: tuple[int, ...]
) -> None:
    page = preview("--region", "100,80,100,100")
    page.drag((150, 130), (150, 130))
    corners = {"n": (150, 80), "e": (200, 130), "w": (100, 130), "nw": (100, 80), "se": (200, 180)}
    page.drag(corners[handle], to)
    assert page.region() == pytest.approx(expected, abs=1)
    page.view.keyboard.press("Control+Z")
    assert page.region() == (100, 80, 100, 100)


def test_a_zone_is_moved_and_stays_on_the_photograph(preview: Callable[..., Preview]) -> None:
    page = preview("--region", "100,80,100,100")
    page.drag((150, 130), (170, 140))
    assert page.region() == pytest.approx((120, 90, 100, 100), abs=1)
    page.drag((150, 130), (318, 238))
    assert page.region() == (220, 140, 100, 100)


def test_a_click_on_a_zone_is_nothing_to_undo(preview: Callable[..., Preview]) -> None:
    page = preview("--region", "100,80,100,100")
    page.drag((150, 130), (150, 130))
    page.drag((20, 20), (20, 20))
    assert page.view.get_by_role("button", name="Undo").is_disabled()
    assert page.region() == (100, 80, 100, 100)


def test_everything_can_be_done_with_keys(preview: Callable[..., Preview], tmp_path: Path) -> None:
    page = preview()
    press = page.view.keyboard.press
    page.view.get_by_role("button", name="Add a zone").focus()
    press("Enter")
    assert page.region() == (80, 60, 160, 120)
    for key in ("ArrowLeft", "Control+ArrowDown", "Shift+ArrowRight", "Control+Shift+ArrowUp"):
        press(key)
    assert page.region() == (70, 61, 170, 119)
    page.view.get_by_role("radio", name="Zones").focus()
    press("ArrowRight")
    page.view.locator("#stage").focus()
    press("ArrowLeft")
    press("Space")
    press("Control+ArrowDown")
    press("Space")
    ignored = read_ignored(page.save(tmp_path))
    rows, columns = np.nonzero(ignored)
    assert rows.mean() == pytest.approx(120, abs=1)
    assert columns.mean() < 160
    for key in ("Control+Z", "Control+Z"):
        press(key)
    assert page.flag("--ignore") is None
    press("Control+Shift+Z")
    assert page.flag("--ignore") == "ignore.png"
    page.view.get_by_role("radio", name="Ignore").focus()
    press("ArrowLeft")
    page.view.locator(".zone").focus()
    press("Delete")
    assert page.flag("--region") is None


@pytest.mark.thorough
def test_what_is_undone_and_saved_is_not_asked_for_again(preview: Callable[..., Preview], tmp_path: Path) -> None:
    page = preview()
    page.choose("Ignore")
    page.drag((100, 100), (150, 100))
    said = page.view.locator("#copy-said")
    assert "Save the picture" in said.text_content()
    first = read_ignored(page.save(tmp_path))
    assert not said.text_content()
    page.drag((100, 150), (150, 150))
    assert "Save the picture" in said.text_content()
    page.view.get_by_role("button", name="Undo").click()
    assert not said.text_content()
    page.view.get_by_role("button", name="Redo").click()
    second = read_ignored(page.save(tmp_path))
    assert (second & first).sum() == first.sum() < second.sum()


def test_a_brush_paints_what_lies_within_half_its_size(preview: Callable[..., Preview], tmp_path: Path) -> None:
    page = preview()
    page.choose("Ignore")
    page.drag((100, 100), (200, 100))
    size = page.view.evaluate("brushSize()")
    ignored = read_ignored(page.save(tmp_path))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    away = np.hypot(x - x.clip(100, 200), y - 100)
    # The pointer is at whole pixels of the screen.
    assert ignored[away <= size / 2 - 1].all()
    assert not ignored[away >= size / 2 + 1].any()


@pytest.mark.parametrize("file", ["ignore.png", "my clock.png", "-odd.png", "it's.png", "../masks/a.png"])
def test_the_name_of_the_picture_is_one_word_of_the_command(preview: Callable[..., Preview], file: str) -> None:
    page = preview()
    page.choose("Ignore")
    page.drag((100, 100), (110, 100))
    page.view.locator("#ignore-file").fill(file)
    assert page.flag("--ignore") == (f"./{file}" if file.startswith("-") else file)


@pytest.mark.thorough
def test_what_a_training_would_refuse_is_said(preview: Callable[..., Preview], tmp_path: Path) -> None:
    Image.fromarray(photograph(90)[:100, :100]).save(tmp_path / "my photos/square.png")
    page = preview()
    warning = page.view.locator("#warning")
    assert not warning.text_content()
    page.drag((40, 30), (250, 200))
    assert "1 photograph is too small for the zones, such as one of 100 x 100" in warning.text_content()
    page.view.get_by_role("button", name="Remove all").click()
    page.choose("Ignore")
    page.drag((10, 10), (20, 10))
    assert "1 photograph has another shape than 320 x 240" in warning.text_content()
    page.choose("Zones")
    page.drag((20, 20), (60, 60))
    page.choose("Ignore")
    page.view.locator("#brush-size").fill("100")
    page.drag((30, 30), (60, 30), (60, 60), (20, 60))
    assert "The zone is ignored altogether" in warning.text_content()


@pytest.mark.parametrize(
    ("flags", "part", "size", "tiles"),
    [
        ([], SIZE, (224, 288), (1, 1)),
        (["--image-size", "32x64"], SIZE, (32, 64), (1, 1)),
        (["--image-size", "32x64", "--tiles", "3x3"], SIZE, (32, 64), (3, 3)),
        (["--image-size", "48", "--region", "0,0,100,240"], (240, 100), (48, 48), (1, 1)),
    ],
)
def test_the_page_says_what_a_pixel_covers_and_warns_as_a_training_does(
    preview: Callable[..., Preview],
    flags: list[str],
    part: tuple[int, int],
    size: tuple[int, int],
    tiles: tuple[int, int],
) -> None:
    (said,) = preview(*flags).area_said()
    canvas = Tiling(*tiles).find_canvas(size)
    covered = re.search(r"covers ([\d.]+) x ([\d.]+) pixels", said)
    assert covered
    assert tuple(map(float, covered.groups())) == pytest.approx((part[1] / canvas[1], part[0] / canvas[0]), abs=0.051)
    assert ("Coarse" in said) == bool(say_coverage(part, size, Framing(tiling=Tiling(*tiles))))


def test_sizes_tiles_and_borders_follow_the_rules_of_a_training(evaluate: Callable[..., Any]) -> None:
    for size, (columns, rows), share in itertools.product(*SMALL):
        corners, canvas = lay_out(size, columns, rows, share)
        found = evaluate("(args) => layOut(...args)", [size, columns, rows, share])
        assert found == {"corners": [list(corner) for corner in corners], "canvas": list(canvas)}
    for part, size in itertools.product(
        [(240, 320), (37, 501), (3000, 17), (600, 600)], [(256, 256), (64, 200), (33, 32)]
    ):
        assert evaluate("(args) => findBorders(...args)", [part, size]) == [
            list(side) for side in find_borders(part, size)
        ]
        for share in (0.0, 0.125, 0.5):
            wanted = evaluate("(args) => chooseTiles(...args)", [part, size, share])
            if max(wanted) <= 64:
                assert wanted == list(choose_tiles(part, size, share))
        for tiles, share in itertools.product([(1, 1), (4, 3)], [0.125, 0.4]):
            chosen = evaluate("(args) => chooseSize(...args)", [part, size, tiles, share])
            assert chosen == list(choose_size(part, size, Framing(tiling=Tiling(*tiles, share)), 32))


def test_what_is_typical_follows_the_rule_of_a_training(evaluate: Callable[..., Any]) -> None:
    one, other = (10, 20, 100, 60), (0, 0, 80, 90)
    for sizes in ([(240, 320, 3)], [(240, 320, 1), (100, 501, 2)], [(10, 10, 1), (241, 320, 1)], [(9, 9, 4)]):
        for boxes in ([], [one], [one, other], [other, one]):
            zones = [dict(zip(("x", "y", "width", "height"), box, strict=True)) for box in boxes]
            typical = find_typical(sizes, Framing(zones=tuple(Zone(str(i), box) for i, box in enumerate(boxes))))
            found = evaluate("(args) => findTypical(...args)", [sizes, zones])
            assert found == (None if typical is None else list(typical))


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (60, 80), (61, 33), (120, 160)])
def test_pixels_are_resized_and_flags_scaled_as_in_a_training(
    evaluate: Callable[..., Any], size: tuple[int, int]
) -> None:
    pixels = photograph(1)[:60, :80]
    levels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    borders = ((3, 4), (0, 0))
    found = evaluate(
        """([levels, [rows, columns]]) => [...resample(levels, 80,
            weighLines(0, 60, [3, 4], rows), weighLines(0, 80, [0, 0], columns))]""",
        [levels.ravel().tolist(), size],
    )
    expected = np.rint(resample(pixels, size, borders)).clip(0, 255).transpose(1, 2, 0)
    assert np.abs(np.reshape(found, (*size, 4))[:, :, :3] - expected).max() <= 1
    flags = np.random.default_rng(0).random((60, 80)) > 0.5
    scaled = evaluate(
        "([flags, size]) => [...scaleFlags(Uint8Array.from(flags), [60, 80], size)]",
        [flags.ravel().astype(int).tolist(), size],
    )
    assert np.array_equal(np.reshape(scaled, size), scale_flags(flags, size))


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (240, 320), (700, 1000)])
def test_a_saved_picture_is_a_png_of_every_flag(evaluate: Callable[..., Any], shape: tuple[int, int]) -> None:
    content = evaluate(
        """([height, width]) => {
            const flags = Uint8Array.from({ length: height * width }, (_, i) => ((i * i) % 31) % 2);
            return [...encodeFlags(flags, [height, width])].map((byte) => String.fromCharCode(byte)).join('');
        }""",
        shape,
    ).encode("latin-1")
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
    flags = np.arange(shape[0] * shape[1]) ** 2 % 31 % 2
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), flags.reshape(shape))


@pytest.mark.parametrize("width", [320, 390, 600, 768, 1024, 1920])
def test_nothing_is_wider_than_the_screen(preview: Callable[..., Preview], width: int) -> None:
    zones = ["--region", "left=0,0,100,200", "--region", "right=180,40,120,160"]
    page = preview(*zones, "--tiles", "2x2", width=width)
    assert page.view.evaluate("document.documentElement.scrollWidth") <= width
    page.view.locator("#zoom").fill("8")
    assert page.view.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_words_stand_out_by_day_and_by_night(preview: Callable[..., Preview], scheme: str, width: int) -> None:
    page = preview("--region", "0,0,100,200", "--image-size", "32", scheme=scheme, width=width)
    for selector in ("header", "#help", "#seen-said", ".coarse", ".panel", "#zones", ".command", "footer", ".modes"):
        seen = page.pixels(selector)
        colours, counts = np.unique(seen.reshape(-1, 3), axis=0, return_counts=True)
        paper = colours[counts.argmax()]
        assert (paper.mean() > 128) == (scheme == "light"), selector
        assert max(contrast(paper, colour) for colour in colours) > 4.5, selector


def test_every_control_has_a_name(preview: Callable[..., Preview]) -> None:
    page = preview("--region", "a=0,0,100,200", "--region", "b=180,40,120,160")
    nameless = page.view.evaluate(
        """[...document.querySelectorAll('input, select, button, .zone, #stage, #seen')].filter((control) =>
            !(control.labels?.[0]?.textContent || control.getAttribute('aria-label') || control.textContent
              || control.getAttribute('aria-labelledby'))).map((control) => control.outerHTML)"""
    )
    assert nameless == []


def test_a_finger_drags_zones_and_paints_on_a_phone(preview: Callable[..., Preview]) -> None:
    page = preview(width=390, has_touch=True)
    page.view.locator("#stage").scroll_into_view_if_needed()
    session = page.view.context.new_cdp_session(page.view)

    def swipe(*points: tuple[float, float]) -> None:
        kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
        for kind, point in zip(kinds, points, strict=True):
            x, y = page.point(*point)
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    scrolled = page.view.evaluate("scrollY")
    swipe((40, 30), (100, 100), (200, 150), (250, 200))
    x, y, width, height = page.region()
    assert (x, y, x + width, y + height) == pytest.approx((40, 30, 250, 200), abs=2)
    page.choose("Ignore")
    page.view.evaluate(f"scrollTo(0, {scrolled})")
    swipe((60, 60), (90, 90), (120, 120))
    assert page.flag("--ignore") == "ignore.png"
    assert page.view.evaluate("scrollY") == scrolled


def test_both_halves_show_the_same_place(preview: Callable[..., Preview]) -> None:
    page = preview()
    page.view.locator("#zoom").fill("4")
    page.choose("Look")
    page.drag((160, 120), (140, 100))
    page.view.wait_for_timeout(100)
    places = page.view.evaluate(
        "[...document.querySelectorAll('.pane')].map((pane) => [pane.scrollLeft, pane.scrollTop])"
    )
    assert places[0] == places[1]
    assert min(places[0]) > 0


def test_without_scripts_the_page_says_what_it_needs(
    preview: Callable[..., Preview], browser: Any, tmp_path: Path
) -> None:
    preview()
    opened = Shown(browser, tmp_path / "page.html", 390, java_script_enabled=False)
    assert "needs JavaScript" in opened.view.locator("noscript").inner_text()
    assert not opened.visible("main")
    opened.view.close()


@pytest.mark.thorough
def test_large_photographs_are_as_fine_on_the_page_as_in_as_many_tiles_as_it_takes(
    browser: Any, tmp_path: Path
) -> None:
    (tmp_path / "large").mkdir()
    for i in range(3):
        Image.fromarray(photograph(i)).resize((4000, 3000)).save(tmp_path / f"large/{i}.jpg")
    data, out = str(tmp_path / "large"), tmp_path / "large.html"
    sizes = {}
    for tiles in ("auto", "10x10"):
        pipeline.preview(pipeline.TrainSettings(model="padim", data=data, tiles=tiles), out)
        opened = Preview(browser, out, 1280)
        opened.view.wait_for_selector(".view canvas")
        sizes[tiles] = opened.seen().shape
        assert ("finer than this page" in opened.area_said()[0]) == (tiles == "10x10")
        assert not opened.complaints
        opened.view.close()
    assert out.stat().st_size < 4e6
    size = (224, 288)
    assert sizes["auto"] == (*Tiling(*choose_tiles((3000, 4000), size, 0.125)).find_canvas(size), 3)
