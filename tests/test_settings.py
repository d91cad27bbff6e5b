"""Settings: what is refused, and that what is saved comes back the same."""

import dataclasses
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawsight.errors import FlawsightError, SettingsError
from flawsight.settings import PRESETS, Generation, Settings, parse_override, preset, upgraded

INDICES = st.integers(-40, 40)
ANY = st.fixed_dictionaries(
    {
        "question": st.text().map(lambda text: f"{text} defect?"),
        "image_tokens": st.none() | st.integers(1, 10**6),
        "image_grid": st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
        "max_new_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 100),
        "seed": st.integers(0, 2**63),
        "layers": st.none() | st.lists(INDICES, max_size=4).map(tuple),
        "attention_row": st.sampled_from(["token", "previous"]),
        "selection": st.sampled_from(["real", "vanilla"]),
        "tau_t": st.floats(-1, 2),
        "tau_i": st.floats(-1, 2),
        "alpha": st.floats(1e-3, 10),
        "beta": st.floats(0, 10),
        "fallback": st.sampled_from(["mean", "best"]),
        "region_threshold": st.floats(0, 1),
        "region_peak": st.floats(0, 1),
        "attention_prior": st.booleans(),
        "feature_distance": st.booleans(),
        "guided_filter": st.booleans(),
        "crops": st.integers(0, 99),
        "crop_share": st.floats(0, 1, exclude_min=True),
        "crop_token_share": st.floats(0, 1, exclude_min=True),
        "score_crops": st.booleans(),
    }
)


@given(values=ANY)
def test_settings_come_back_from_json_the_same(values):
    settings = Settings(**values)
    written = json.loads(json.dumps(settings.to_json()))
    assert Settings.from_json(written) == settings


def test_to_json_equals_what_a_file_gives_back():
    settings = Settings(layers=(3, 1))
    assert settings.to_json() == json.loads(json.dumps(settings.to_json()))
    assert settings.to_json()["layers"] == [3, 1]


def test_the_size_of_an_image_is_set_on_the_command_line():
    name, value = parse_override("image_grid=[15,20]")
    settings = Settings.from_json({name: value})
    assert (settings.image_grid, settings.tokens_per_image) == ((15, 20), 300)
    assert Settings.from_json({"image_grid": None}).tokens_per_image == 225


def test_from_json_takes_part_of_the_settings_and_leaves_its_argument_alone():
    values = {"layers": [1, 2]}
    assert Settings.from_json(values) == Settings(layers=(1, 2))
    assert values == {"layers": [1, 2]}


@pytest.mark.parametrize(
    "values",
    [
        {"question": "What is in the image?"},
        {"question": ""},
        {"question": 3},
        {"layers": "18-25"},
        {"layers": 3},
        {"layers": (1, "2")},
        {"layers": (True,)},
        {"image_tokens": 0},
        {"image_tokens": "many"},
        {"image_tokens": 22.5},
        {"image_grid": [15]},
        {"image_grid": (15, 0)},
        {"image_grid": [15, 15, 15]},
        {"image_grid": 15},
        {"max_new_tokens": 0},
        {"max_new_tokens": None},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"seed": "zero"},
        {"attention_row": "Token"},
        {"attention_prior": "False"},
        {"selection": "all"},
        {"fallback": "worst"},
        {"tau_t": math.nan},
        {"tau_i": None},
        {"alpha": -1.0},
        {"beta": math.inf},
        {"alpha": 0.0, "beta": 0.0},
        {"feature_distance": 1},
        {"crops": -1},
        {"crop_share": 0.0},
        {"crop_token_share": 1.1},
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_a_settings_error(values):
    with pytest.raises(SettingsError):
        Settings.from_json(values)


def test_a_misspelt_setting_is_named():
    with pytest.raises(SettingsError, match=r"tauT \(is it tau_t or tau_i\?\), wordsonly\.$"):
        Settings.from_json({"wordsonly": True, "tauT": 0.3})


def test_a_wrong_choice_is_told_the_right_ones():
    with pytest.raises(SettingsError, match=r"attention_row is 'next'; choose one of token, pre"):
        Settings(attention_row="next")


def test_presets_are_found_by_name():
    assert {name: preset(name) for name in PRESETS} == PRESETS
    assert preset("paper") == Settings(image_grid=(15, 15))
    assert (preset("paper").tau_t, preset("paper").tokens_per_image) == (0.25, 225)


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(FlawsightError, match="'fast'; choose one of paper, default"):
        preset("fast")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().tau_t = 0.5


def test_the_key_of_a_trace_is_the_generation_stage():
    settings = preset("default")
    names = {field.name for field in dataclasses.fields(Generation)}
    # Traces made before there was a region of interest keep their key.
    assert set(settings.generation()) == names - {"roi"}
    assert set(replace(settings, roi="1,2,3,4").generation()) == names
    for name in ("tau_t", "region_peak", "guided_filter"):
        assert name not in settings.generation()


# Preset `default` as run.json of version 0.1 has it.
OF_VERSION_0_1 = {
    "question": "Are there any defects or anomalies in the image?", "image_tokens": 225,
    "max_new_tokens": 256, "temperature": 0.0, "seed": 0, "layers": None, "heads": None,
    "model_heads": False, "row": "own", "semantic_normalization": "share",
    "concentration_normalization": "exp", "words_only": False, "selection": "real", "tau_t": 0.0,
    "tau_i": 0.0, "alpha": 1.0, "beta": 1.0, "none_kept": "best", "relative": True, "rarity": True,
    "crops": 3, "crop_share": 0.5, "crop_token_share": 0.87, "score_crops": True,
    "follow_edges": True, "reask": 0, "scale_by_score": False, "region_threshold": 0.28,
    "region_peak": 0.55,
}  # fmt: skip


def test_settings_of_version_0_1_are_read_by_today_s_names():
    assert Settings.from_json(upgraded(OF_VERSION_0_1)) == preset("default")
    assert upgraded(preset("default").to_json()) == preset("default").to_json()
    assert upgraded({"row": "predicting"}) == {"attention_row": "previous"}


@pytest.mark.parametrize(
    ("name", "value"), [("words_only", True), ("heads", [[0, 1]]), ("reask", 2)]
)
def test_a_setting_that_is_gone_is_no_default(name, value):
    assert upgraded(OF_VERSION_0_1 | {name: value})[name] == value


def test_an_old_name_is_told_its_new_one():
    with pytest.raises(SettingsError, match=r"rarity \(now feature_distance\), tau"):
        Settings.from_json({"rarity": True, "tau": 1})
