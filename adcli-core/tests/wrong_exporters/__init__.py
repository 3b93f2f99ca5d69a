"""Exporters that each break one rule, and a right one: what a plugin's entry-point module would hold."""

from adcli import ExporterSpec, Options, option


class PlainOptions(Options):
    """Options that break no rule."""

    compress: bool = option(False, "Compress the archive.")


class UndocumentedOptions(Options):
    """An option without a word on what it does."""

    compress: bool = option(False, "")


def spec(
    name: str, options: type[Options] = PlainOptions, *, target: str = "export", load: str = "load"
) -> ExporterSpec:
    """Describe one of the exporters."""
    return ExporterSpec(
        name=name,
        target=f"wrong_exporters.exporters:{target}",
        runtime=f"wrong_exporters.runtimes:{load}",
        options=options,
        summary="a test exporter",
    )


RIGHT = spec("right")

WRONG = {
    "options_are_documented_and_valid": spec("undocumented", UndocumentedOptions),
    "facts_describe_the_graph": spec("nameless", target="without_inputs"),
    "scores_equal_the_original": spec("inexact", load="load_inexact"),
    "images_of_other_sizes_are_resized_as_in_training": spec("nearest", load="load_nearest"),
    "a_score_does_not_depend_on_the_batch": spec("relative", load="load_relative"),
    "the_input_is_left_alone": spec("in_place", load="load_in_place"),
    "the_runtime_imports_no_torch": spec("heavy_runtime", load="load_with_torch"),
    "the_folder_can_be_moved": spec("rooted", target="with_its_place", load="load_from_its_place"),
    "a_wrong_graph_fails_the_check": spec("lenient", target="with_any_tolerance"),
    "exporting_is_silent": spec("talkative", target="with_a_word"),
}
"""For each rule, an exporter that breaks it and no other; the rule on imports has one of its own, in ``heavy.py``."""
