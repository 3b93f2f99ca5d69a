"""Means and deviations over the runs of a sweep, and what may not be averaged silently."""

from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from sweep_results import cell, grid, made, results

from adcli.errors import OptionError, RunError
from adcli.sweeps.results import Outcome, SweepResults
from adcli.sweeps.summary import Mean, summarise

MODELS, CATEGORIES, SEEDS = ("padim", "dfm"), ("bottle", "cable", "tile"), (0, 1, 2, 3, 4)
VALUES = {
    (model, category, seed): 0.9 - 0.05 * i + 0.03 * j + 0.004 * ((7 * k + 3 * j) % 5) ** 2
    for i, model in enumerate(MODELS)
    for j, category in enumerate(CATEGORIES)
    for k, seed in enumerate(SEEDS)
}


def value(model: str, category: str, seed: int) -> float:
    return VALUES[model, category, seed]


FULL = grid(MODELS, CATEGORIES, SEEDS, value)


def mean_of(found: SweepResults, group: tuple[object, ...], metric: str = "image.auroc", **asked: object) -> Mean:
    (line,) = (line for line in summarise(found, **asked).lines if line.group == group)  # type: ignore[arg-type]
    return line.means[metric]


def test_with_several_seeds_the_deviation_is_that_of_the_seeds_means_over_categories() -> None:
    means = [fmean(value("padim", category, seed) for category in CATEGORIES) for seed in SEEDS]
    found = mean_of(FULL, ("padim",))
    assert found.value == pytest.approx(fmean(means))
    assert found.deviation == pytest.approx(stdev(means))
    assert (found.n, found.of, found.runs, found.expected) == (5, "seeds", 15, 15)


def test_with_one_seed_the_deviation_is_that_of_the_categories() -> None:
    found = mean_of(grid(MODELS, CATEGORIES, SEEDS[:1], value), ("dfm",))
    values = [value("dfm", category, 0) for category in CATEGORIES]
    assert (found.value, found.deviation) == pytest.approx((fmean(values), stdev(values)))
    assert (found.n, found.of) == (3, "categories")


def test_a_single_run_has_no_deviation() -> None:
    assert mean_of(results(made(cell("padim"), image__auroc=0.5)), ("padim",)) == Mean(0.5, None, 1, "categories", 1, 1)


def test_over_seeds_alone_each_category_is_a_group() -> None:
    found = mean_of(FULL, ("padim", "tile"), by=("model", "category"))
    values = [value("padim", "tile", seed) for seed in SEEDS]
    assert (found.value, found.deviation, found.n) == pytest.approx((fmean(values), stdev(values), 5))


def test_data_sets_are_averaged_over_like_categories() -> None:
    sets = results(
        *(made(cell("padim", category, data=data), image__auroc=x) for data, category, x in
          (("a", "bottle", 0.5), ("a", "cable", 0.7), ("b", "bottle", 0.9), ("c", None, 0.1)))
    )  # fmt: skip
    found = mean_of(sets, ("padim",))
    assert (found.value, found.n, found.expected) == (pytest.approx(0.55), 4, 4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": ("modle",)}, ("by names 'modle', which no run has", "Did you mean 'model'?")),
        ({"over": ("category", "sede")}, ("over names 'sede', which no run has", "Did you mean 'seed'?")),
        ({"by": ("model", "seed"), "over": ("seed",)}, ("both name 'seed'",)),
        ({"by": ()}, ("names no factor",)),
        (
            {"metrics": ("image.aurok",)},
            ("metric names 'image.aurok', which no run has", "Did you mean 'image.auroc'?"),
        ),
        ({"by": ("model",), "over": ("seed",)}, ("leave out 'category'", "bottle, cable, tile", "runs of padim")),
        ({"by": ("category",)}, ("leave out 'model'", "padim, dfm")),
    ],
)
def test_what_names_nothing_or_too_little_is_refused(asked: dict[str, tuple[str, ...]], words: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as error:
        summarise(FULL, **asked)
    message = error.value.format_message()
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_an_option_that_varies_is_never_averaged_over_silently() -> None:
    swept = results(
        *(made(cell("patchcore", seed=seed, coreset=c), image__auroc=c) for seed in (0, 1) for c in (0.01, 0.1))
    )
    with pytest.raises(OptionError, match=r"leave out 'option.coreset', which varies \(0.01, 0.1\)"):
        summarise(swept, by=("model",))
    assert summarise(swept).by == ["model", "option.coreset"]
    assert mean_of(swept, ("patchcore", 0.1), by=("model", "coreset")).value == 0.1
    over = mean_of(swept, ("patchcore",), over=("seed", "option.coreset"))
    assert (over.value, over.n, over.of) == (pytest.approx(0.055), 4, "runs")


def test_an_option_that_some_runs_lack_varies_too() -> None:
    swept = results(made(cell("patchcore")), made(cell("patchcore", coreset=0.1)))
    with pytest.raises(OptionError, match=r"option\.coreset"):
        summarise(swept, by=("model",))
    assert [line.group for line in summarise(swept).lines] == [("patchcore", None), ("patchcore", 0.1)]


def test_runs_of_images_that_changed_meanwhile_are_noted() -> None:
    runs = [replace(made(cell("padim", seed=seed), image__auroc=0.5), images="a") for seed in (0, 1)]
    assert not any("changed" in note for note in summarise(results(*runs)).notes)
    later = replace(made(cell("padim", seed=2), image__auroc=0.5), images="b")
    assert any("parts: its images changed" in note for note in summarise(results(*runs, later)).notes)


def test_a_sweep_without_runs_is_refused() -> None:
    with pytest.raises(RunError, match="has no runs"):
        summarise(results())


def spoiled(*, error: str) -> SweepResults:
    """The full sweep without one run of padim."""
    outcomes = list(FULL.outcomes)
    gone = next(i for i, one in enumerate(outcomes) if one.cell == cell("padim", "tile", 3))
    outcomes[gone] = Outcome(outcomes[gone].cell, error=error)
    return results(*outcomes)


@pytest.mark.parametrize(("error", "word"), [("no memory", "1 failed"), ("", "1 not made yet")])
def test_a_group_that_lacks_a_run_is_marked_and_never_the_best(error: str, word: str) -> None:
    found = summarise(spoiled(error=error))
    padim, dfm = (line.means["image.auroc"] for line in found.lines)
    assert (padim.runs, padim.expected, padim.is_complete) == (14, 15, False)
    assert dfm.is_complete
    assert (padim.value or 0) > (dfm.value or 0)
    assert found.best("image.auroc") == [("dfm",)]
    assert f"29 of 30 runs are made, {word}." in found.notes
    assert any("14/15" in note for note in found.notes)
    assert [line.group for line in found.rank("image.auroc")] == [("dfm",), ("padim",)]


def test_shared_categories_are_compared_if_asked() -> None:
    found = summarise(spoiled(error="no memory"), shared=True)
    padim, dfm = (line.means["image.auroc"] for line in found.lines)
    assert (padim.runs, padim.expected, dfm.runs, dfm.expected) == (10, 10, 10, 10)
    expected = fmean(value("padim", category, seed) for category in ("bottle", "cable") for seed in SEEDS)
    assert padim.value == pytest.approx(expected)
    assert found.best("image.auroc") == [("padim",)]
    assert any("1 of 3 categories are not shared by all groups" in note for note in found.notes)


def test_a_category_that_another_group_alone_has_is_lacking() -> None:
    found = summarise(
        results(*(made(cell("padim", c), image__auroc=0.5) for c in "ab"), made(cell("dfm", "a"), image__auroc=0.9))
    )
    assert [(line.means["image.auroc"].runs, line.means["image.auroc"].expected) for line in found.lines] == [
        (2, 2),
        (1, 2),
    ]
    assert found.best("image.auroc") == [("padim",)]


def test_categories_without_masks_count_in_nobodys_mean_of_pixels_and_a_note_says_so() -> None:
    found = summarise(
        results(
            *(made(cell(m, "a"), image__auroc=0.5, pixel__auroc=0.8) for m in MODELS),
            *(made(cell(m, "b"), image__auroc=0.7) for m in MODELS),
        )
    )
    means = found.lines[0].means
    assert (means["pixel.auroc"].value, means["pixel.auroc"].expected, means["image.auroc"].expected) == (0.8, 1, 2)
    assert "pixel AUROC: 1 of 2 categories have none, and count in no group." in found.notes


def test_a_run_that_failed_everywhere_is_still_expected() -> None:
    found = summarise(results(made(cell("padim", "a"), image__auroc=0.5), Outcome(cell("padim", "b"), error="broken")))
    mean = found.lines[0].means["image.auroc"]
    assert (mean.runs, mean.expected) == (1, 2)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("image.auroc", (0.91, 0.93, 0.92), ["b"]),
        ("image.auroc", (0.9301, 0.9299, 0.92), ["a", "b"]),
        ("image.fpr_at_95_tpr", (0.1, 0.3, 0.2), ["a"]),
        ("image.false_alarm_rate", (0.1, 0.02, 0.2), ["b"]),
        ("seconds.fit", (1.2, 30.0, 1.21), ["a", "c"]),
    ],
)
def test_the_best_is_the_highest_but_of_errors_and_times_the_lowest_with_ties(
    metric: str, values: tuple[float, ...], best: list[str]
) -> None:
    level, _, part = metric.partition(".")
    outcomes = [
        made(cell(model), seconds={part: x})
        if level == "seconds"
        else made(cell(model), **{metric.replace(".", "__"): x})
        for model, x in zip("abc", values, strict=True)
    ]
    assert summarise(results(*outcomes), metrics=(metric,)).best(metric) == [(name,) for name in best]


def test_means_are_those_of_numpy_on_any_grid() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        shape = tuple(random.integers(1, 5, 3))
        table = random.uniform(size=shape)
        names = [[f"m{i}" for i in range(shape[0])], [f"c{i}" for i in range(shape[1])], list(range(shape[2]))]
        swept = grid(*names, lambda m, c, s, t=table: t[int(m[1:]), int(c[1:]), s])  # type: ignore[arg-type, misc]
        for line, numbers in zip(summarise(swept).lines, table, strict=True):
            seeds = numbers.mean(axis=0) if shape[2] > 1 else numbers[:, 0]
            mean = line.means["image.auroc"]
            assert mean.value == pytest.approx(seeds.mean())
            assert mean.deviation == (pytest.approx(seeds.std(ddof=1)) if len(seeds) > 1 else None)


def test_names_can_be_a_text() -> None:
    typed = summarise(FULL, by="model,category", over="seed", metrics="auroc")
    assert typed == summarise(FULL, by=["model", "category"], over=["seed"], metrics=["image.auroc"])
