"""Settings: validated, merged, and read back from a run."""

from pathlib import Path

import pytest

from adcli.data.framing import parse_crop, parse_region, parse_size
from adcli.errors import OptionError
from adcli.runs.settings import TrainSettings, framing, merge, parse_calibration, read_config


@pytest.mark.parametrize(("text", "size"), [("256", (256, 256)), ("128x320", (128, 320)), ("16X17", (16, 17))])
def test_a_size_is_one_number_or_two(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "15", "9000", "a", "1x", "256x", "256x256x3", "-256"])
def test_an_impossible_size_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=f"^image_size must be N or HEIGHTxWIDTH.* not '{text}'"):
        TrainSettings(model="m", image_size=text)


def test_a_region_has_a_corner_and_sides_and_a_crop_one_number_or_two() -> None:
    assert parse_region("40,0,640,480") == (40, 0, 640, 480)
    assert parse_region(" 40, 0, 640, 480 ") == (40, 0, 640, 480)
    assert parse_crop("480") == (480, 480)
    assert parse_crop("480x20000") == (480, 20000)
    made = framing(TrainSettings(model="m", region="40,0,640,480", crop="100x200", fit="letterbox"), None)
    assert (made.region, made.crop, made.fit, made.ignored) == ((40, 0, 640, 480), (100, 200), "letterbox", None)
    assert framing(TrainSettings(model="m"), None).is_plain


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "-1,0,20,20", "0,0,15,20", "a,b,c,d", "0.5,0,20,20", "0;0;20;20"]
)
def test_an_impossible_region_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^region must be"):
        TrainSettings(model="m", region=text)


@pytest.mark.parametrize("text", ["", "0", "15", "20x", "20x20x20", "-20", "big"])
def test_an_impossible_crop_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^crop must be"):
        TrainSettings(model="m", crop=text)


def test_a_crop_has_to_fit_into_the_region() -> None:
    TrainSettings(model="m", region="0,0,64,32", crop="32x64")
    for crop in ("33x64", "32x65"):
        with pytest.raises(OptionError, match=rf"^crop must fit into region 0,0,64,32, and '{crop}'"):
            TrainSettings(model="m", region="0,0,64,32", crop=crop)


def test_a_fit_is_one_of_two() -> None:
    with pytest.raises(OptionError, match=r"^fit must be squash or letterbox, not 'stretch'"):
        TrainSettings(model="m", fit="stretch")


def test_calibration_is_a_share_a_number_of_folds_a_folder_or_none() -> None:
    assert parse_calibration("0.2") == 0.2
    assert parse_calibration("5-fold") == 5
    assert parse_calibration("none") is None
    assert parse_calibration("photos/good") == Path("photos/good")


@pytest.mark.parametrize("text", ["0", "1", "1.5", "-0.1", "nan", "1-fold", "1000-fold"])
def test_an_impossible_calibration_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^calibration must be"):
        TrainSettings(model="m", calibration=text)


@pytest.mark.parametrize("text", ["f2", "nan", "inf", ""])
def test_an_impossible_threshold_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^threshold must be f1 or a number"):
        TrainSettings(model="m", threshold=text)


def test_the_command_line_overrides_a_config_key_by_key() -> None:
    config = {"model": "a", "options": {"x": 1, "y": 2}, "seed": 3}
    merged = merge(config, {"options": {"y": 5}, "batch_size": 4})
    assert merged.options == {"x": 1, "y": 5}
    assert (merged.seed, merged.batch_size, merged.model) == (3, 4, "a")


def test_options_of_another_model_are_not_carried_over() -> None:
    assert merge({"model": "a", "options": {"x": 1}}, {"model": "b", "options": {"z": 1}}).options == {"z": 1}


def test_unknown_settings_are_named_with_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: patchcore\nbatchsize: 3\n")
    with pytest.raises(OptionError, match=rf"^--config {path}: batchsize is not a setting. Did you mean 'batch_size'"):
        read_config(path)


def test_a_value_in_a_config_that_does_not_fit_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: patchcore\ncache: x\n")
    with pytest.raises(OptionError, match=rf"^--config {path}: cache must be an integer, not 'x'"):
        read_config(path)


def test_a_model_must_be_given() -> None:
    with pytest.raises(OptionError, match=r"^model must be given"):
        TrainSettings.parse({"data": "photos"})
    with pytest.raises(TypeError, match="model"):
        TrainSettings()  # type: ignore[call-arg]


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "just words"])
def test_a_config_that_holds_no_settings_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(OptionError, match=r"config\.yaml"):
        read_config(path)


def test_settings_survive_being_stored() -> None:
    settings = TrainSettings(model="m", options={"layers": (1, 2)}, image_size="64x32", threshold="1.5")
    assert TrainSettings.parse(settings.to_dict()) == TrainSettings(
        model="m", options={"layers": [1, 2]}, image_size="64x32", threshold="1.5"
    )


def test_options_of_a_config_that_names_no_model_are_those_of_any() -> None:
    assert merge({"options": {"sigma": 8}}, {"model": "padim", "options": {"layers": 1}}).options == {
        "sigma": 8,
        "layers": 1,
    }
    assert merge({"model": "dfm", "options": {"sigma": 8}}, {"model": "padim", "options": {}}).options == {}
