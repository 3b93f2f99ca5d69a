"""Backbones that each break one rule, and a right one: what a plugin's entry-point module would hold."""

from adcli import BackboneSpec


def spec(name: str, summary: str = "a test backbone") -> BackboneSpec:
    """Describe one of the backbones."""
    return BackboneSpec(name=name, target=f"wrong_backbones.networks:{name.rstrip(':')}", summary=summary)


RIGHT = spec("right")

WRONG = {
    "the_spec_is_documented_and_loads": spec("right", summary=""),
    "maps_agree_with_channels_and_strides": spec("misdescribed"),
    "maps_lie_where_the_backbone_says": spec("displaced"),
    "maps_are_finite_float32": spec("doubled"),
    "a_map_does_not_depend_on_the_batch": spec("batch_normalised"),
    "it_is_frozen": spec("unregistered"),
    "making_and_mapping_are_repeatable": spec("noisy"),
    "the_input_is_left_alone": spec("in_place"),
    "layers_are_chosen_by_index": spec("turned"),
    "nothing_is_computed_beyond_the_last_layer": spec("eager"),
    "the_state_restores_without_pretrained_weights": spec("forgetful"),
    "forward_can_be_exported": spec("data_dependent"),
    "a_layer_that_is_not_there_is_refused": spec("crashing"),
    "a_network_that_is_not_there_is_refused": spec("lenient:"),
    "missing_weights_are_refused": spec("deaf"),
    "making_is_silent": spec("talkative"),
}
"""For each rule, a backbone that breaks it and no other; the rule on imports has one of its own, in ``installed``."""
