"""Print how often a threshold set in folds rejects good images, beside what it promises, as a Markdown table.

    python benchmarks/folds.py --data FOLDER... [--model NAME...] [--n N...] [--draws N]

The features of all good images of a folder are computed once, with the backbone ``embedded`` and each model's own
code. Then, over and over, n images are drawn and adcli's own code calibrates on them (``--calibration 5-fold``,
``10-fold``, and ``0.2`` on the same draw); other images say which share of them lies above the threshold. Fit and score
are the models' own, on features in place of images, with their defaults but for this: PatchCore and PaDiM look at a
grid of 4 x 4 positions of their maps, not at all, and do not blur.

A cell is, in percent, the promised rate: the mean realised rate ± its standard error (the share of draws whose realised
rate is more than twice the promised; the 95 % bound of the rate, and the share of draws beyond it); the mean share of
the defective images found, and its standard deviation over the draws. The standard error is that of the draws: how far
the mean of as many other draws from the same images may lie. Other images may differ by more.
"""

import argparse
import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from adcli.data import items_of
from adcli.data.references import load_data
from adcli.data.samples import Splits
from adcli.data.source import Decoded, ImageSource, Item
from adcli.errors import AdcliError
from adcli.nn.batches import Batches
from adcli.nn.layers import Cover
from adcli.nn.model import Model
from adcli.options import BackboneOptions
from adcli.pipeline import TrainSettings
from adcli.pipeline._plan import plan_calibration
from adcli.progress import Silent
from adcli.scoring.calibration import Calibration
from adcli.scoring.thresholds import calibrate
from adcli.specs import ModelSpec
from adcli_dfkde import DfkdeOptions
from adcli_dfkde.model import Dfkde
from adcli_dfm import DfmOptions
from adcli_dfm.model import Dfm
from adcli_padim import PadimOptions
from adcli_padim.model import Padim
from adcli_patchcore import PatchcoreOptions
from adcli_patchcore.model import PatchCore

SIZE = (256, 256)
GRID = 4
"""Positions along each side of a map that PatchCore and PaDiM look at."""

SCORED = 400
"""Images not drawn that are scored, at most."""

RATES = (0.01, 0.05, 0.1)
WAYS = ("5-fold", "10-fold", "0.2")

ONE_PASS = ModelSpec(name="folds", target="", options=DfmOptions, summary="", one_pass=True)
"""Stands for any model that may be calibrated in folds."""

Numbers = NDArray[np.intp]
Scores = NDArray[np.float32]
Score = Callable[[Numbers], Scores]
Fit = Callable[[Numbers], Score]
"""Fits to the images of these numbers; what it returns scores those of others."""


class Numbered(ImageSource):
    """Gives an image's number in place of its pixels."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__((1, 1), workers=0, cache_bytes=0)
        self.items = items_of(paths)
        self.numbers = {item: number for number, item in enumerate(self.items)}

    def of(self, items: Iterable[Item]) -> Numbers:
        """Return the numbers of images."""
        return np.array([self.numbers[item] for item in items])

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, Decoded]]:
        """Yield item and number of the images in the given order."""
        return ((item, Decoded(np.array(self.numbers[item]), self.size, "")) for item in items)


@dataclass(frozen=True)
class Case:
    """What was seen of one way to calibrate, for R rates.

    Attributes:
        promised: the rates that it can promise, (R,).
        bound: what their calibrations say that the rates do not exceed with 95 % confidence, (R,).
        realised: shares of the images not drawn that lie above the threshold, (draws, R).
        found: shares of the defective images that do, (draws, R); NaN without any.
    """

    promised: NDArray[np.float64]
    bound: NDArray[np.float64]
    realised: NDArray[np.float64]
    found: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean realised rates, (R,)."""
        return self.realised.mean(axis=0)

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """The standard errors of these means, (R,)."""
        return self.realised.std(axis=0, ddof=1) / math.sqrt(len(self.realised))

    @property
    def beyond_bound(self) -> NDArray[np.float64]:
        """Shares of the draws whose realised rate is more than the bound, (R,)."""
        return (self.realised > self.bound).mean(axis=0)

    @property
    def beyond_twice(self) -> NDArray[np.float64]:
        """Shares of the draws whose realised rate is more than twice the promised, (R,)."""
        return (self.realised > 2 * self.promised).mean(axis=0)


def simulate(
    fit: Fit,
    count: int,
    n: int,
    ways: Sequence[str],
    draws: int,
    rates: Sequence[float] = RATES,
    defects: int = 0,
) -> dict[str, Case]:
    """Draw n of ``count`` images again and again, calibrate on them, and score others: SCORED, or all there are.

    Args:
        fit: fits the model.
        count: number of good images there are.
        n: number of images drawn; the same ones for every model and way.
        ways: what ``--calibration`` is given.
        draws: how often.
        rates: what ``--false-alarm-rate`` is given.
        defects: number of defective images, whose numbers follow those of the good ones.

    Raises:
        TrainingError: the model does not fit to so few images, whole or in folds.
        OptionError: the model's scores differ in scale from fit to fit, so that there are no folds.
    """
    source = Numbered([Path(f"{number:05}") for number in range(count)])
    # One seed does: it shuffles images that are drawn in a random order.
    settings = {way: TrainSettings(model="folds", calibration=way) for way in ways}
    outcomes: dict[str, list[list[list[float]]]] = {way: [] for way in ways}
    defective = np.arange(count, count + defects)
    for draw in range(draws):
        order = np.random.default_rng([draw, n]).permutation(count)
        whole = functools.lru_cache(maxsize=1)(functools.partial(_fit_and_score, fit, order[n : n + SCORED], defective))
        for way in ways:
            calibration, good, bad = _calibrated(fit, whole, source, order[:n], settings[way])
            outcomes[way].append(_judge([calibration.at_rate(rate) for rate in rates], good, bad))
    return {way: _gather(drawn) for way, drawn in outcomes.items()}


def _judge(at_rates: Sequence[Calibration], good: Scores, bad: Scores) -> list[list[float]]:
    """Return, for each rate, what is promised, its bound, and the shares of good and defective images above."""
    above = [
        [float((scores > at.image_threshold).mean()) if len(scores) else math.nan for at in at_rates]
        for scores in (good, bad)
    ]
    return [[at.achievable_rate for at in at_rates], [at.bound or 0.0 for at in at_rates], *above]


def _gather(drawn: Sequence[list[list[float]]]) -> Case:
    promised, bound, realised, found = np.array(drawn).swapaxes(0, 1)
    return Case(promised[0], bound[0], realised, found)


def _fit_and_score(
    fit: Fit, others: Numbers, defective: Numbers, numbers: tuple[int, ...]
) -> tuple[Score, Scores, Scores]:
    score = fit(np.array(numbers))
    bad = score(defective) if len(defective) else np.empty(0, np.float32)
    return score, score(others), bad


def _calibrated(
    fit: Fit,
    whole: Callable[[tuple[int, ...]], tuple[Score, Scores, Scores]],
    source: Numbered,
    chosen: Numbers,
    settings: TrainSettings,
) -> tuple[Calibration, Scores, Scores]:
    """Return a calibration as ``adcli train`` makes it, and the final model's scores of other images, good and bad."""
    items = [source.items[i] for i in chosen]
    plan = plan_calibration(settings, ONE_PASS, Splits([], []), items, [item.path.name for item in items])
    score, good, bad = whole(tuple(source.of(plan.fit).tolist()))
    calibration = calibrate(
        plan,
        _as_runtime(score),
        source,
        refit=lambda items: _as_runtime(fit(source.of(items))),
        batch_size=len(chosen),
        progress=Silent(),
    )
    return calibration, good, bad


def _as_runtime(score: Score) -> Callable[[Numbers], tuple[Scores, None]]:
    return lambda numbers: (score(numbers), None)


class Given(nn.Module):
    """In place of a backbone: takes its map for the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = (channels,)
        self.covers = (Cover(1.0),)
        # PatchCore asks a blank photograph for the shape of its map.
        self.register_buffer("mean", torch.zeros(1))

    def equalise(self, batches: Iterable[Tensor]) -> None:
        """Do nothing: there is one map."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class GivenPatches(PatchCore):
    """PatchCore that takes its embedding for the image."""

    def embed(self, images: Tensor) -> Tensor:
        """Return what it was given; of a blank photograph, a blank map."""
        channels = self.backbone.channels[0]
        return images if images.shape[1] == channels else images.new_zeros(len(images), channels, *images.shape[2:])


class GivenBatches(Batches):
    """One batch of features, (N, C, h, w)."""

    def __init__(self, features: Tensor) -> None:
        super().__init__([], ImageSource((features.shape[2], features.shape[3])))
        self.features = features

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.features)

    @property
    def photographs(self) -> int:
        """Number of photographs: each is an image."""
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self.features])

    def sharded(self) -> Batches:
        """Return all of it: there is one process."""
        return self


def fit_on(model: Model, features: Tensor) -> Fit:
    """Return how to fit copies of a model whose backbone is :class:`Given` to features (N, C, h, w), and to score."""

    def fit(numbers: Numbers) -> Score:
        # As in a run, whose folds all start from its seed; torch.manual_seed looks for GPUs; that takes long.
        torch.default_generator.manual_seed(0)
        fitted = copy.copy(model)
        fitted._buffers = dict(model._buffers)
        with torch.inference_mode():
            fitted.fit(GivenBatches(features[torch.from_numpy(numbers)]))

        def score(others: Numbers) -> NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(fitted(features[torch.from_numpy(others)]).image.numpy(), np.float32)

        return score

    return fit


def rotated(features: Tensor) -> Tensor:
    """Return features (N, D) in as few coordinates as hold all N, (N, N, 1, 1).

    What a principal component analysis scores does not change with the axes, and a fit takes a tenth of the time.
    """
    centred = (features - features.mean(dim=0)).double()
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    return (vectors * values.clamp_min(0).sqrt()).float()[:, :, None, None]


def on_grid(maps: Tensor) -> Tensor:
    """Return maps (N, C, h, w) at evenly spread positions, (N, C, GRID, GRID)."""
    rows, columns = (torch.arange(GRID) * side // GRID + side // GRID // 2 for side in maps.shape[2:])
    return maps[:, :, rows][:, :, :, columns]


def dfm_features(batches: Batches) -> Tensor:
    """Return DFM's features of images."""
    model = Dfm(DfmOptions(backbone="embedded"), image_size=SIZE)
    return rotated(torch.cat([model.features(images) for images in batches]))


def dfkde_features(batches: Batches) -> Tensor:
    """Return DFKDE's features of images."""
    model = Dfkde(DfkdeOptions(backbone="embedded"), image_size=SIZE)
    return rotated(torch.cat([model.features(images) for images in batches]))


def patchcore_features(batches: Batches) -> Tensor:
    """Return PatchCore's embedding of images at some positions."""
    model = PatchCore(PatchcoreOptions(backbone="embedded"), image_size=SIZE)
    return torch.cat([on_grid(model.embed(images)) for images in batches])


def padim_features(batches: Batches) -> Tensor:
    """Return the maps of PaDiM's layers at some positions, coarser ones repeated."""
    model = Padim(PadimOptions(backbone="embedded"), image_size=SIZE)

    def joined(maps: list[Tensor]) -> Tensor:
        return torch.cat([F.interpolate(part, size=maps[0].shape[2:], mode="nearest") for part in maps], dim=1)

    return torch.cat([on_grid(joined(model.backbone(images))) for images in batches])


@dataclass(frozen=True)
class Scorer:
    """A model on features.

    Attributes:
        features: computes them, (N, C, h, w).
        model: its class.
        options: its options; the backbone in them is replaced by :class:`Given`.
    """

    features: Callable[[Batches], Tensor]
    model: type[Model]
    options: BackboneOptions

    def fit_on(self, features: Tensor) -> Fit:
        """Return how to fit to some of the features, and to score others."""
        model = self.model(self.options, image_size=(features.shape[2], features.shape[3]), pretrained=False)
        model.backbone = Given(features.shape[1])
        return fit_on(model, features)


SCORERS = {
    "dfm": Scorer(dfm_features, Dfm, DfmOptions(backbone="embedded", pooling=0)),
    "dfm score=nll": Scorer(dfm_features, Dfm, DfmOptions(backbone="embedded", pooling=0, score="nll")),
    "dfkde": Scorer(dfkde_features, Dfkde, DfkdeOptions(backbone="embedded")),
    "patchcore": Scorer(patchcore_features, GivenPatches, PatchcoreOptions(backbone="embedded", sigma=0)),
    # One layer, as the features are one map.
    "padim": Scorer(padim_features, Padim, PadimOptions(backbone="embedded", layers=(1,), sigma=0)),
}


def good_images(folder: str) -> Batches:
    """Return all good images of a data set, those to train on and those to test."""
    return _images(folder, "good")


def defective_images(folder: str) -> Batches:
    """Return all defective images of a data set."""
    return _images(folder, "defect")


def _images(folder: str, label: str) -> Batches:
    splits = load_data(None if folder == "demo" else folder, {}).splits
    paths = [sample.image for sample in [*splits.train, *splits.test] if sample.label == label]
    return Batches(items_of(paths), ImageSource(SIZE), batch_size=32)


def _joined(good: Batches, bad: Batches) -> Batches:
    return Batches([*good.items, *bad.items], good.source, batch_size=32)


def cells(case: Case) -> str:
    """Return the cells of a line of the table, in percent."""
    values = zip(
        case.promised,
        case.mean,
        case.standard_error,
        case.beyond_twice,
        case.bound,
        case.beyond_bound,
        case.found.mean(axis=0),
        case.found.std(axis=0),
        strict=True,
    )
    return " | ".join(
        f"{100 * promised:.2f}: {100 * mean:.2f} ± {100 * error:.2f} ({beyond:.0%}; > {bound:.1%}: {out:.1%}); "
        f"found {100 * found:.1f} (sd {100 * spread:.1f})"
        for promised, mean, error, beyond, bound, out, found, spread in values
    )


def lines(
    name: str, fit: Fit, count: int, n: int, draws: int, ways: Sequence[str] = WAYS, defects: int = 0
) -> Iterator[str]:
    """Yield a line of the table for each way to calibrate, or why there is none."""
    refused = {way: _refusal(fit, count, n, way) for way in ways}
    cases = simulate(fit, count, n, [way for way in ways if not refused[way]], draws, defects=defects)
    for way in ways:
        yield f"| {name} | {n} | {way} | {refused[way] or cells(cases[way])} |"


def _refusal(fit: Fit, count: int, n: int, way: str) -> str:
    try:
        simulate(fit, count, n, [way], 1)
    except AdcliError as error:
        return f"refused: {error.format_message()} | |"
    return ""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="folders or data sets; their good images are used")
    parser.add_argument("--model", nargs="*", default=list(SCORERS), choices=list(SCORERS))
    parser.add_argument("--n", nargs="*", type=int, default=[20, 50, 200], help="images drawn to calibrate on")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--left", type=int, default=100, help="images that a draw leaves to score, at least")
    parser.add_argument("--way", nargs="*", default=list(WAYS), choices=WAYS)
    return parser.parse_args()


def main() -> None:
    """Simulate and print; sizes that leave too few images to score are left out."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    for folder in arguments.data:
        good, bad = good_images(folder), defective_images(folder)
        count = good.count
        print(f"\n**{Path(folder).name}**, {count} good images, {bad.count} defective, {arguments.draws} draws\n")
        print(f"| model | n | calibration | {' | '.join(f'{rate:.0%} asked for' for rate in RATES)} |")
        print("|---|---|---|---|---|---|")
        known: dict[Callable[[Batches], Tensor], Tensor] = {}
        for name in arguments.model:
            scorer = SCORERS[name]
            if scorer.features not in known:
                with torch.inference_mode():
                    known[scorer.features] = scorer.features(_joined(good, bad))
            fit = scorer.fit_on(known[scorer.features])
            for n in (n for n in arguments.n if count - n >= arguments.left):
                for line in lines(name, fit, count, n, arguments.draws, arguments.way, bad.count):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
