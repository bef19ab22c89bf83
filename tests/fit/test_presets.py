from __future__ import annotations

import math

import pytest

from geocal_core.errors import ConfigError
from geocal_core.fit.presets import PRESETS, preset


def test_presets_are_those_of_the_manual() -> None:
    assert PRESETS["local"].lambda_l0 == 1e-8
    assert PRESETS["national"].lambda_l0 == 1e-4
    for settings in PRESETS.values():
        assert (settings.beta, settings.gamma, settings.zeta) == (0.35, -0.1, 1.1)
        assert (settings.initial_keep, settings.log_weight_jitter, settings.log_alpha_jitter) == (0.999, 0.05, 0.01)
        assert (settings.lambda_l2, settings.learning_rate) == (1e-12, 0.15)


def test_changes_replace_and_none_keeps() -> None:
    changed = preset("local", beta=0.65, lambda_l0=None)
    assert changed.beta == 0.65
    assert changed.lambda_l0 == 1e-8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.0}, "beta is 0.0; it must be above 0"),
        ({"lambda_l0": -1.0}, "lambda_l0 is -1.0"),
        ({"lambda_l2": math.nan}, "lambda_l2 is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"gamma": 0.1}, "gamma is 0.1"),
        ({"zeta": 1.0}, "zeta is 1.0"),
        ({"initial_keep": 1.0}, "initial_keep is 1.0"),
        ({"lamda": 1.0}, "no hyper-parameter 'lamda'"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        preset("local", **changes)


def test_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'regional'; the presets are local, national"):
        preset("regional")
