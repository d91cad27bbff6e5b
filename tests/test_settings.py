"""Settings: what is refused, and that what is saved comes back the same."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawsight.errors import FlawsightError, SettingsError
from flawsight.settings import PRESETS, Settings, preset

INDICES = st.integers(-40, 40)
LAYERS = st.lists(INDICES, max_size=4).map(tuple)
HEADS = st.lists(st.tuples(INDICES, INDICES), max_size=4).map(tuple)
AVERAGED = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"layers": LAYERS}),
    st.fixed_dictionaries({"heads": HEADS}),
)
OTHERS = st.fixed_dictionaries(
    {
        "question": st.text().map(lambda text: f"{text} defect?"),
        "image_tokens": st.none() | st.integers(1, 10**6),
        "max_new_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 100),
        "seed": st.integers(0, 2**63),
        "row": st.sampled_from(["own", "predicting"]),
        "semantic_normalization": st.sampled_from(["share", "max"]),
        "concentration_normalization": st.sampled_from(["exp", "linear"]),
        "words_only": st.booleans(),
        "selection": st.sampled_from(["real", "vanilla"]),
        "tau_t": st.floats(-1, 2),
        "tau_i": st.floats(-1, 2),
        "alpha": st.floats(1e-3, 10),
        "beta": st.floats(0, 10),
        "fallback": st.sampled_from(["mean", "best"]),
        "scale_by_score": st.booleans(),
        "region_threshold": st.floats(0, 1),
        "region_peak": st.floats(0, 1),
        "relative": st.booleans(),
        "rarity": st.booleans(),
        "crops": st.integers(0, 99),
        "crop_share": st.floats(0, 1, exclude_min=True),
        "crop_token_share": st.floats(0, 1, exclude_min=True),
        "score_crops": st.booleans(),
    }
)


@given(others=OTHERS, averaged=AVERAGED)
def test_settings_come_back_from_json_the_same(others, averaged):
    settings = Settings(**others, **averaged)
    written = json.loads(json.dumps(settings.to_json()))
    assert Settings.from_json(written) == settings


def test_to_json_equals_what_a_file_gives_back():
    settings = Settings(heads=((3, 1), (4, 0)))
    assert settings.to_json() == json.loads(json.dumps(settings.to_json()))
    assert settings.to_json()["heads"] == [[3, 1], [4, 0]]


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
        {"layers": (1,), "heads": ((1, 1),)},
        {"layers": "18-25"},
        {"layers": 3},
        {"heads": ((1,),)},
        {"heads": ((1, "2"),)},
        {"heads": 3},
        {"image_tokens": 0},
        {"image_tokens": "many"},
        {"image_tokens": 22.5},
        {"max_new_tokens": 0},
        {"max_new_tokens": None},
        {"max_new_tokens": True},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"seed": "zero"},
        {"row": "Own"},
        {"semantic_normalization": "sum"},
        {"concentration_normalization": "log"},
        {"words_only": "False"},
        {"selection": "all"},
        {"fallback": "worst"},
        {"tau_t": math.nan},
        {"tau_i": None},
        {"alpha": -1.0},
        {"beta": math.inf},
        {"alpha": 0.0, "beta": 0.0},
        {"scale_by_score": 1},
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_a_settings_error(values):
    with pytest.raises(SettingsError):
        Settings.from_json(values)


def test_a_misspelt_setting_is_named():
    with pytest.raises(SettingsError, match=r"tauT, wordsonly\.$"):
        Settings.from_json({"wordsonly": True, "tauT": 0.3})


def test_a_wrong_choice_is_told_the_right_ones():
    with pytest.raises(SettingsError, match=r"row is 'next'; choose one of own, predicting\."):
        Settings(row="next")


def test_presets_are_found_by_name():
    assert {name: preset(name) for name in PRESETS} == PRESETS
    assert preset("paper") == Settings()
    assert (preset("paper").tau_t, preset("paper").image_tokens) == (0.25, 225)


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(FlawsightError, match="'fast'; choose one of paper, default"):
        preset("fast")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().tau_t = 0.5
