"""Conformance checks for plugins: what each kind of plugin promises, as rules that run with pytest or without.

In a plugin's tests::

    from adcli.testing import conformance

    @conformance("my_model")
    def test_my_model_conforms(check):
        check()

One test becomes one for each rule. None can be left out. If a plugin cannot keep a rule, name it in
``expected_failures`` with the reason; the test then fails on the day the plugin keeps it.
``adcli plugin check my_model`` runs the same rules without pytest.

If the images of a data set are not in its package, ``write_images`` writes a few into an empty folder and returns the
options that load them::

    def write_a_few(folder):
        for name in ("good/0.png", "good/1.png", "dent/0.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.effect_noise((64, 64), 50).save(folder / name)
        return {"root": folder}

    @conformance("line3", kind="dataset", write_images=write_a_few)
    def test_line3_conforms(check):
        check()

For tests of a model's own mathematics there are images to fit it to::

    from adcli.testing import fit_model, stack_images, textured_batches

    def test_good_images_score_low(tmp_path):
        batches = textured_batches(tmp_path, 12)
        model = fit_model(MyModel, MyOptions(), batches)
        assert model(stack_images(batches)).image.max() < 1
"""

from adcli.specs import Kind
from adcli.testing._check import Checked, Result, check_plugin, kind_of
from adcli.testing._conformance import Check, conformance
from adcli.testing._fitting import assert_defect_is_found, fit_model, stack_images, textured_batches
from adcli.testing._kinds import KINDS, Rules, WriteImages

__all__ = [
    "KINDS",
    "Check",
    "Checked",
    "Kind",
    "Result",
    "Rules",
    "WriteImages",
    "assert_defect_is_found",
    "check_plugin",
    "conformance",
    "fit_model",
    "kind_of",
    "stack_images",
    "textured_batches",
]
