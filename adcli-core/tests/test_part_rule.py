"""Which photographs show the same part, and what is said of one."""

from pathlib import Path

import numpy as np
import pytest

from adcli.data.guarding import keep_whole
from adcli.data.part_rule import (
    PartRule,
    Scored,
    assign_parts,
    check_pattern,
    join_linked,
    join_scored,
    suspect_parts,
    suspect_repeats,
)
from adcli.data.samples import Sample, Splits
from adcli.data.splitting import held_out
from adcli.errors import DataError, OptionError
from adcli.scoring.part_verdicts import PartVerdicts
from adcli.scoring.verdict import VerdictRecord


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(\d+)_", "0017"),
        (r"\d+", "3"),
        (r"(?P<view>[a-z]+)\.png|(?P<part>x)", ""),
        (r"_(?P<view>[a-z]+)|y(?P<part>x)", ""),
        (r"(?P<line>\w+)/(?P<part>\w+)_", "0017"),
        (r"nothing", ""),
    ],
)
def test_an_expression_names_the_part_by_its_group_or_by_all_of_it(pattern: str, expected: str) -> None:
    assert PartRule(pattern).find(Path("/somewhere/else/line3/good/0017_left.png")) == expected


def test_no_more_than_the_last_names_of_a_path_are_searched() -> None:
    assert PartRule(r"(\d+)").find(Path("/disk7/day/good/a.png")) == ""
    assert PartRule(r"(\d+)").find("upload 12") == "12"


@pytest.mark.parametrize("pattern", ["(", "x*", "", "(?P<part>"])
def test_what_is_no_expression_of_a_part_is_refused(pattern: str) -> None:
    with pytest.raises(OptionError):
        check_pattern(pattern)


def splits(**names: str) -> Splits:
    return Splits(
        **{name: [Sample(Path(image), "good") for image in images.split()] for name, images in names.items()},
        description="d",
    )


def test_every_sample_is_told_its_part_and_they_are_counted() -> None:
    found = assign_parts(splits(train="1_a.png 1_b.png 2_a.png", test="3_a.png"), r"(\d)_")
    assert [sample.part for sample in found.train] == ["1", "1", "2"]
    assert found.description == "d; parts: 2 training, 1 test"


def test_a_part_is_not_good_and_a_known_defect() -> None:
    known = assign_parts(splits(train="1_a.png", defects="2_a.png"), r"(\d)_")
    assert [sample.part for sample in known.defects] == ["2"]
    with pytest.raises(DataError, match=r"part '1' is in the training \(1_a\.png\) and in the defective"):
        assign_parts(splits(train="1_a.png", defects="1_b.png"), r"(\d)_")


def test_names_without_a_part_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 2 images, such as x\.png"):
        assign_parts(splits(train="1_a.png x.png"), r"(\d)_")


def test_a_part_in_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match=r"part '1' is in the training \(1_a\.png\) and in the test"):
        assign_parts(splits(train="1_a.png", test="1_b.png"), r"(\d)_")


def test_subjects_are_joined_by_any_name_that_they_share() -> None:
    assert join_linked([["a"], ["b", "x"], ["c", "x"], ["d"], ["a", "d"]]) == [0, 1, 1, 0, 0]


def test_images_of_a_part_are_held_out_together_and_without_parts_as_ever(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i:03}.png" for i in range(120)]
    for i, path in enumerate(paths):
        path.write_bytes(f"image {i}".encode())
    parts = {path: str(i // 3) for i, path in enumerate(paths)}
    chosen = held_out(paths, 0.3, 1, parts)
    assert all(len({path in chosen for path in paths[i : i + 3]}) == 1 for i in range(0, 120, 3))
    assert 15 < len(chosen) < 57
    alone = held_out(paths, 0.3, 1)
    assert alone == held_out(paths, 0.3, 1, dict.fromkeys(paths, ""))


def test_a_part_has_its_largest_score_and_the_kind_of_its_highest_defect() -> None:
    scored = [
        ("1", Scored(1.0, False)),
        ("2", Scored(5.0, False)),
        ("2", Scored(3.0, True, "low")),
        ("2", Scored(4.0, True, "high")),
        ("1", Scored(2.0, False)),
    ]
    assert join_scored(scored) == [Scored(2.0, False), Scored(5.0, True, "high")]


def test_of_a_part_that_lost_an_image_none_is_kept() -> None:
    parts = {"a": "1", "b": "1", "c": "2"}
    assert keep_whole(["b", "c", "d"], ["a", "b", "c", "d", "e"], parts) == ["c", "d"]


def names(text: str, count: int = 8) -> list[Path]:
    return [Path("good", one.format(i)) for i in range(count) for one in text.split()]


@pytest.mark.parametrize(
    ("images", "views"),
    [
        (names("{:03}_left.png {:03}_right.png"), 2),
        (names("top-{:03}.png side-{:03}.png end-{:03}.png"), 3),
        (names("{:03}/1.png {:03}/2.png"), 2),
    ],
)
def test_names_that_look_like_views_are_suspected_and_the_advice_finds_the_parts(
    images: list[Path], views: int
) -> None:
    said = suspect_parts(images)
    assert f"{views} images of each of 8 parts" in said
    pattern = said.split("--part ")[1].split(" --views")[0].strip("'")
    parts = {PartRule(pattern).find(str(image)) for image in images}
    assert parts == {f"{i:03}" for i in range(8)}


@pytest.mark.parametrize(
    "images", [names("{:03}.png"), names("a_{:03}.png"), names("{:03}_left.png {:03}_right.png", 3)]
)
def test_other_names_are_not_suspected(images: list[Path]) -> None:
    assert suspect_parts(images) == ""


def test_images_that_show_the_same_again_are_suspected() -> None:
    random = np.random.default_rng(0)
    parts = random.integers(0, 256, (10, 16, 16, 3))
    again = [
        np.clip(part + random.integers(-2, 3, part.shape), 0, 255).astype(np.uint8) for part in parts for _ in "ab"
    ]
    assert "10 of 20 images hardly differ" in suspect_repeats(again)
    assert suspect_repeats([part.astype(np.uint8) for part in parts]) == ""


def record(image: str, part: str, verdict: str, score: float | None = 1.0, **more: str) -> VerdictRecord:
    return VerdictRecord(image=image, part=part, time="t", score=score, verdict=verdict, **more)  # type: ignore[arg-type]


def test_one_photograph_with_a_defect_makes_a_part_defective_whatever_it_lacks() -> None:
    parts = PartVerdicts(views=3)
    parts.add(record("a", "1", "good", 1.0))
    parts.add(record("b", "1", "unreadable", None, problem="gone"))
    parts.add(record("c", "1", "defect", 9.0, zone="left"))
    (joined,) = parts.records()
    assert (joined.image, joined.part, joined.score, joined.verdict, joined.zone) == ("", "1", 9.0, "defect", "left")


@pytest.mark.parametrize(
    ("photographs", "problem"),
    [
        ([("a", "good", 1.0), ("b", "good", 2.0)], "2 of 3 photographs"),
        ([("a", "good", 1.0), ("b", "good", 2.0), ("c", "unreadable", None)], "c: gone"),
        ([("a", "unreadable", None)], "a: gone"),
    ],
)
def test_a_part_that_lacks_a_photograph_is_incomplete_and_survives_being_written(
    photographs: list[tuple[str, str, float | None]], problem: str
) -> None:
    parts = PartVerdicts(views=3)
    for image, verdict, score in photographs:
        parts.add(record(image, "1", verdict, score, problem="" if score else "gone"))
    (joined,) = parts.records()
    assert (joined.verdict, joined.problem) == ("incomplete", problem)
    assert VerdictRecord.from_json(joined.to_json()) == joined


def test_photographs_of_no_known_part_are_parts_of_their_own() -> None:
    parts = PartVerdicts(views=0)
    for image in "ab":
        parts.add(record(image, "", "good"))
    assert [joined.part for joined in parts.records()] == ["a", "b"]
