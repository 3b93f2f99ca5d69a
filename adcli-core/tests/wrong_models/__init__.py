"""Models that each break one rule, and a right one: what a plugin's entry-point module would hold."""

from typing import Literal

from adcli import ModelSpec, Options, option


class PlainOptions(Options):
    """Options that break no rule."""

    grid: int = option(4, "Pixels that are averaged, in each direction.", ge=1)


class UndocumentedOptions(Options):
    """An option without a word on what it does."""

    grid: int = option(4, "", ge=1)


def spec(
    target: str,
    options: type[Options] = PlainOptions,
    updatable: Literal["no", "kept", "always"] = "no",
    *,
    learns_from_defects: bool = False,
) -> ModelSpec:
    """Describe one of the models."""
    return ModelSpec(
        name=target.lower(),
        target=f"wrong_models.models:{target}",
        options=options,
        summary="a test model",
        one_pass=True,
        updatable=updatable,
        learns_from_defects=learns_from_defects,
    )


RIGHT = spec("Right")
UPDATABLE = spec("Summing", updatable="kept")
"""A right model that learns more after its fit."""
TAUGHT = spec("Taught", learns_from_defects=True)

WRONG = {
    "scores_have_the_shapes_of_the_task": spec("FlatMap"),
    "a_score_does_not_depend_on_the_batch": spec("BatchNormalised"),
    "scoring_changes_nothing": spec("Counting"),
    "the_layout_in_memory_does_not_matter": spec("ContiguousOnly"),
    "the_input_is_left_alone": spec("InPlace"),
    "fitting_is_repeatable": spec("Unseeded"),
    "the_state_round_trips": spec("Forgetful"),
    "damage_scores_higher": spec("Inverted"),
    "forward_can_be_exported": spec("DataDependent"),
    "other_sizes_work": spec("SquareOnly"),
    "two_processes_agree_with_one": spec("Apart"),
    "known_defects_are_learnt": spec("Untaught", learns_from_defects=True),
    "fitting_is_silent": spec("Talkative"),
    "an_update_comes_near_a_fit_of_all": spec("Unteachable", updatable="kept"),
    "an_update_needs_what_is_saved_alone": spec("Absent", updatable="kept"),
    "options_are_documented_and_valid": spec("Undocumented", UndocumentedOptions),
}
"""For each rule, a model that breaks it and no other; the rule on imports has one of its own, in ``heavy.py``."""
