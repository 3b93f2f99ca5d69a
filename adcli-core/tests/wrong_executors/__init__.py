"""Executors that each break one rule, and a right one: what a plugin's entry-point module would hold."""

from adcli import ExecutorSpec, Options, option


class PlainOptions(Options):
    """Options that break no rule."""

    backwards: bool = option(False, "Make the last run first.")


class UndocumentedOptions(Options):
    """An option without a word on what it does."""

    backwards: bool = option(False, "")


def spec(name: str, options: type[Options] = PlainOptions, *, target: str = "execute") -> ExecutorSpec:
    """Describe one of the executors."""
    return ExecutorSpec(
        name=name, target=f"wrong_executors.executors:{target}", options=options, summary="a test executor"
    )


RIGHT = spec("right")

WRONG = {
    "options_are_documented_and_valid": spec("undocumented", UndocumentedOptions),
    "every_task_has_one_outcome": spec("repetitive", target="execute_twice"),
    "runs_are_as_train_makes_them": spec("headstrong", target="execute_with_other_settings"),
    "a_failing_run_ends_no_other": spec("discouraged", target="execute_until_one_fails"),
    "what_is_there_is_not_made_again": spec("diligent", target="execute_anew"),
    "no_tasks_have_no_outcomes": spec("presuming", target="execute_one_at_least"),
    "an_outcome_comes_when_it_is_known": spec("taciturn", target="execute_all_first"),
    "nothing_depends_on_how_many_are_left": spec("opportune", target="execute_with_what_is_free"),
    "closing_ends_what_is_under_way": spec("persistent", target="execute_to_the_end"),
    "what_was_closed_is_continued": spec("resentful", target="execute_once"),
    "stdout_is_left_alone": spec("talkative", target="execute_aloud"),
}
"""For each rule, an executor that breaks it and no other; the rule on imports has one of its own, in ``heavy.py``."""
