"""Data sets that each break one rule, and a right one: what a plugin's entry-point module would hold."""

from pathlib import Path

from adcli import DatasetSpec, Options, option


class PlainOptions(Options):
    """Options that break no rule."""

    root: Path | None = option(None, "The folder that holds the categories.")


class UndocumentedOptions(Options):
    """An option without a word on what it does."""

    root: Path | None = option(None, "")


def spec(name: str, options: type[Options] = PlainOptions) -> DatasetSpec:
    """Describe one of the data sets."""
    return DatasetSpec(
        name=name,
        target=f"wrong_datasets.readers:{name}",
        options=options,
        summary="a test data set",
        categories=("bolt", "nut"),
    )


RIGHT = spec("right")
TORN = spec("torn")
"""Cannot be loaded at all."""

WRONG = {
    "options_are_documented_and_valid": spec("undocumented", UndocumentedOptions),
    "loading_gives_samples_to_train_on": spec("wordy"),
    "images_exist_and_can_be_read": spec("with_a_text_file"),
    "labels_are_good_or_defect": spec("with_a_kind_of_good"),
    "masks_fit_their_defects": spec("with_turned_masks"),
    "no_image_appears_twice": spec("leaking"),
    "loading_is_repeatable": spec("shuffled"),
    "every_category_loads_and_no_other": spec("lenient"),
    "missing_data_is_named": spec("vague"),
    "an_empty_folder_is_no_data_set": spec("crashing"),
    "loading_is_silent": spec("talkative"),
    "loading_imports_no_torch": spec("with_torch"),
}
"""For each rule, a data set that breaks it and no other; the rule on imports has one of its own, in ``heavy.py``."""
