from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.diagnostics import (
    additivity,
    district_table,
    effective_sample_size,
    error_curve,
    error_shares,
    error_summary,
    error_table,
    target_table,
    weight_summary,
)

TARGETS = pd.DataFrame(
    [
        ("national/person_count/[age<5]", "person_count", "age", "national", "US", 100.0),
        ("state_1/person_count/[age<5]", "person_count", "age", "state", "1", 60.0),
        ("state_2/person_count/[age<5]", "person_count", "age", "state", "2", 50.0),
        ("cd_101/person_count/[age<5]", "person_count", "age", "district", "101", 20.0),
        ("cd_102/person_count/[age<5]", "person_count", "age", "district", "102", 40.0),
        ("state_1/snap/", "snap", None, "state", "1", 0.0),
        ("state_2/snap/", "snap", None, "state", "2", 9.0),
        ("cd_101/snap/", "snap", None, "district", "101", 9.0),
    ],
    columns=["name", "variable", "domain_variable", "geo_level", "geographic_id", "value"],
).assign(held_out=[False] * 7 + [True])
ESTIMATE = np.array([101.0, 60.0, 41.0, 21.0, 39.0, 3.0, 0.0, 9.0])
ACHIEVABLE = np.array([True, True, True, True, True, True, False, True])


def test_the_table_of_targets_follows_the_reference_columns() -> None:
    table = target_table(
        ["a", "b"], np.array([-4.0, 0.0]), np.array([-5.0, 2.0]), np.array([True, False]), np.array([False, True])
    )
    assert table.loc[0, ["rel_error", "abs_rel_error"]].tolist() == [-0.25, 0.25]
    assert np.isnan(table.loc[1, "rel_error"])
    assert table["achievable"].tolist() == [True, False]
    assert table["held_out"].tolist() == [False, True]


def test_summaries_count_every_kind_of_target_once() -> None:
    errors = error_table(TARGETS, ESTIMATE, ACHIEVABLE)
    levels = error_summary(errors, ["level"]).set_index("level")
    assert levels.index.tolist() == ["national", "state", "district"]
    assert levels.loc["state", ["targets", "unsupported", "zero", "scored"]].tolist() == [4, 1, 1, 2]
    assert levels.loc["state", "within_1"] == 0.5
    assert levels.loc["state", ["zero_median", "zero_max"]].tolist() == [3.0, 3.0]
    assert levels.loc["district", ["zero_median", "zero_max"]].isna().all()
    assert levels.loc["national", ["within_1", "within_5"]].tolist() == [1.0, 1.0]
    assert levels.loc["district", "max"] == pytest.approx(0.05)
    families = error_summary(errors, ["level", "family"])
    assert families["family"].tolist() == ["person_count by age", "person_count by age", "snap", "person_count by age", "snap"]
    snap = families[(families["level"] == "state") & (families["family"] == "snap")].iloc[0]
    assert snap["scored"] == 0
    assert np.isnan(snap["median"])
    assert families["targets"].sum() == len(TARGETS)
    apart = error_summary(errors, ["held_out", "level"])
    assert apart.loc[apart["held_out"], ["level", "targets", "max"]].to_numpy().tolist() == [["district", 1, 0.0]]
    nothing = error_summary(errors.head(0), ["level"])
    assert nothing.empty
    assert list(nothing) == ["level", *levels.columns]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_shares_rise_and_quantiles_are_numpys(errors: list[float]) -> None:
    values = np.array(errors)
    shares = error_shares(values)
    assert 0 <= shares["within_0_5"] <= shares["within_1"] <= shares["within_5"] <= shares["within_10"] <= 1
    assert shares["within_5"] == sum(error <= 0.05 for error in errors) / len(errors)
    assert shares["median"] <= shares["p90"] <= shares["p99"] <= shares["max"] == max(errors)
    assert shares["p99"] == pytest.approx(pd.Series(errors).quantile(0.99))
    curve = error_curve(values)
    assert [share for _, share in curve] == [sum(e <= at for e in errors) / len(errors) for at, _ in curve]
    assert not curve or curve[-1][1] == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_effective_sample_size_lies_between_one_and_the_kept(weights: list[float]) -> None:
    values = np.array(weights)
    size = effective_sample_size(values)
    if not np.sum(values**2) > 0:
        assert size == 0
    else:
        assert 1 - 1e-9 <= size <= np.count_nonzero(values) * (1 + 1e-9)


def test_effective_sample_size_of_equal_weights_is_their_number() -> None:
    assert effective_sample_size(np.full(17, 3.0)) == pytest.approx(17)


def test_weights_are_summed_up_by_district() -> None:
    imputed = np.array([True, True, False, True, True])
    summary = weight_summary(np.array([1.0, 0.0, 3.0, 0.0, 4.0]), np.array([101, 101, 102, 103, 102]), imputed)
    assert summary == {
        "columns": 5,
        "kept": 3,
        "sum": 8,
        "largest": 4,
        "largest_share": 0.5,
        "top_1_percent_share": 0.5,
        "effective_sample_size": pytest.approx(64 / 26),
        "imputed_share": 5 / 8,
        "imputed_share_of_kept": pytest.approx(2 / 3),
        "districts": 3,
        "districts_empty": 1,
        "kept_per_district_least": 0,
        "kept_per_district_p5": pytest.approx(0.1),
        "kept_per_district_median": 1,
        "effective_sample_size_of_district_least": 0,
        "effective_sample_size_of_district_p5": pytest.approx(0.1),
        "effective_sample_size_of_district_median": 1,
        "largest_share_of_district": 1,
        "largest_share_of_its_district": pytest.approx(4 / 7),
    }
    assert "districts" not in weight_summary(np.ones(2))
    nothing = weight_summary(np.zeros(3), np.array([101, 102, 102]))
    assert (nothing["kept"], nothing["top_1_percent_share"], nothing["largest_share_of_its_district"]) == (0, 0, 0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.0, 1e6]), st.integers(101, 104)), min_size=1, max_size=250))
def test_weights_are_summed_up_as_by_hand_whatever_their_order(columns: list[tuple[float, int]]) -> None:
    weights, district = (np.array(part) for part in zip(*columns, strict=True))
    table = district_table(weights, district).set_index("district")
    frame = pd.DataFrame({"w": weights, "d": district})
    for code, group in frame.groupby("d")["w"]:
        row = table.loc[code]
        assert row[["columns", "kept", "sum", "largest"]].tolist() == [len(group), (group > 0).sum(), group.sum(), group.max()]
        assert row["effective_sample_size"] == pytest.approx(effective_sample_size(group.to_numpy()))
        assert row["largest_share"] == pytest.approx(group.max() / group.sum() if group.sum() else 0)
    summary = weight_summary(weights, district)
    kept = sorted(weights[weights > 0], reverse=True)
    if kept:
        top = sum(kept[: -(-len(kept) // 100)]) / sum(kept)
        assert summary["top_1_percent_share"] == pytest.approx(top)
        assert 0 < summary["largest_share"] <= summary["top_1_percent_share"] <= 1
    shuffled = np.random.default_rng(0).permutation(len(weights))
    again = weight_summary(weights[shuffled], district[shuffled])
    for name, value in summary.items():
        if name != "largest_share_of_its_district":  # of equal weights, the first counts
            assert again[name] == pytest.approx(value, nan_ok=True)


def test_levels_are_compared_where_all_parts_are_there() -> None:
    sums = additivity(error_table(TARGETS, ESTIMATE, ACHIEVABLE)).set_index(["total", "family"])
    assert sums.index.tolist() == [("national", "person_count by age"), ("state", "person_count by age")]
    nation, state = sums.loc[("national", "person_count by age")], sums.loc[("state", "person_count by age")]
    assert (nation["totals"], nation["estimate_gap"], nation["target_gap"]) == (1, 0.0, pytest.approx(0.1))
    assert (state["totals"], state["estimate_gap"], state["target_gap"]) == (1, 0.0, 0.0)
