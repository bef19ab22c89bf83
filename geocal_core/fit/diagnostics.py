"""How good a set of weights is: errors by target, level and family, quality of the weights, and whether levels add up.

All sums are in float64. Targets of 0 have no relative error and are counted apart, and so are targets without support. Targets
that were held out are marked, so that whoever sums up can keep them apart from those that were fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.matrix.factored import Floats

Bools = NDArray[np.bool_]
WITHIN = (0.005, 0.01, 0.05, 0.10)
_QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
_SHARES = tuple(f"within_{100 * limit:g}".replace(".", "_") for limit in WITHIN)
_CURVE_POINTS = 120
_LEVEL_ORDER = ("national", "state", "district")


def relative_errors(target: Floats, estimate: Floats) -> Floats:
    """(estimate - target) / |target|; NaN for a target of 0."""
    result = np.full(len(target), np.nan)
    np.divide(estimate - target, np.abs(target), out=result, where=target != 0)
    return result


def target_table(names: Sequence[str], target: Floats, estimate: Floats, achievable: Bools, held_out: Bools) -> pd.DataFrame:
    """One row for each target: target, true_value, estimate, rel_error, abs_rel_error, achievable, held_out."""
    error = relative_errors(target, estimate)
    return pd.DataFrame(
        {
            "target": list(names),
            "true_value": target,
            "estimate": estimate,
            "rel_error": error,
            "abs_rel_error": np.abs(error),
            "achievable": achievable,
            "held_out": held_out,
        }
    )


def error_table(targets: pd.DataFrame, estimate: Floats, achievable: Bools) -> pd.DataFrame:
    """Errors with what is known of each target.

    Parameters
    ----------
    targets : DataFrame
        Columns ``name``, ``variable``, ``domain_variable``, ``geo_level``, ``geographic_id``, ``value`` and ``held_out``.
    estimate : ndarray, shape (n_targets,)
    achievable : ndarray of bool, shape (n_targets,)
        Whether a record has a non-zero value for the target.

    Returns
    -------
    DataFrame
        Columns name, level, geographic_id, family, target, estimate, error, rel_error, abs_rel_error, achievable, held_out.
    """
    value = targets["value"].to_numpy(dtype=np.float64)
    domain = targets["domain_variable"].fillna("").astype(str)
    family = targets["variable"].astype(str).where(domain == "", targets["variable"].astype(str) + " by " + domain)
    relative = relative_errors(value, estimate)
    return pd.DataFrame(
        {
            "name": targets["name"].astype(str).to_numpy(),
            "level": targets["geo_level"].astype(str).to_numpy(),
            "geographic_id": targets["geographic_id"].astype(str).to_numpy(),
            "family": family.to_numpy(),
            "target": value,
            "estimate": estimate,
            "error": estimate - value,
            "rel_error": relative,
            "abs_rel_error": np.abs(relative),
            "achievable": achievable,
            "held_out": targets["held_out"].to_numpy(dtype=np.bool_),
        }
    )


def error_summary(errors: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Errors summed up by columns of an error table.

    Returns
    -------
    DataFrame
        The columns of ``by``, then targets (all), unsupported, zero (supported targets of 0), scored (the rest); of the scored
        within_0_5, within_1, within_5, within_10 (shares in [0, 1]), median, p90, p99 and max of the absolute relative error;
        and zero_median and zero_max, of the absolute error of targets of 0. NaN where there is nothing of the kind.
    """
    rows = []
    for key, group in errors.groupby(list(by), sort=True):
        supported = group[group["achievable"]]
        error = supported["abs_rel_error"].dropna().to_numpy()
        missed = np.abs(supported.loc[supported["abs_rel_error"].isna(), "error"].to_numpy())
        counts = {"targets": len(group), "unsupported": len(group) - len(supported), "zero": len(missed), "scored": len(error)}
        rows.append(dict(zip(by, key, strict=True)) | counts | error_shares(error) | _zero_errors(missed))
    if not rows:
        nothing = error_shares(np.zeros(0)) | _zero_errors(np.zeros(0))
        return pd.DataFrame(columns=[*by, "targets", "unsupported", "zero", "scored", *nothing])
    table = pd.DataFrame(rows)
    if "level" in table:
        rank = {level: place for place, level in enumerate(_LEVEL_ORDER)}
        order = table["level"].map(lambda level: rank.get(level, len(rank)))
        table = table.assign(order=order).sort_values(["order", *by], kind="stable").drop(columns="order")
    return table.reset_index(drop=True)


def error_shares(error: Floats) -> dict[str, float]:
    """Shares within 0.5, 1, 5 and 10 % and quantiles of absolute relative errors; NaN where there are none."""
    if not len(error):
        return dict.fromkeys((*_SHARES, *_QUANTILES, "max"), float("nan"))
    shares = {name: float(np.mean(error <= limit)) for name, limit in zip(_SHARES, WITHIN, strict=True)}
    quantiles = zip(_QUANTILES, np.quantile(error, list(_QUANTILES.values())).tolist(), strict=True)
    return shares | dict(quantiles) | {"max": float(error.max())}


def _zero_errors(missed: Floats) -> dict[str, float]:
    """Median and largest absolute error of targets of 0."""
    nan = float("nan")
    return {
        "zero_median": float(np.median(missed)) if len(missed) else nan,
        "zero_max": float(missed.max()) if len(missed) else nan,
    }


def error_curve(error: Floats) -> list[tuple[float, float]]:
    """Points (error, share of targets within it) of absolute relative errors, from a hundred-thousandth to the largest."""
    if not len(error) or error.max() <= 0:
        return []
    places = np.geomspace(1e-5, max(float(error.max()), 1e-4), _CURVE_POINTS)
    shares = np.searchsorted(np.sort(error), places, side="right") / len(error)
    return [(float(x), float(y)) for x, y in zip(places, shares, strict=True)]


def effective_sample_size(weights: Floats) -> float:
    """Kish's (sum of weights)^2 / (sum of squared weights); 0 for weights that are all 0."""
    squares = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / squares if squares > 0 else 0.0


def weight_summary(
    weights: Floats, district: NDArray[np.integer] | None = None, imputed: Bools | None = None
) -> dict[str, float]:
    """Quality of weights, and of those of the districts where they are given.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_columns,)
    district : ndarray of int, shape (n_columns,), optional
    imputed : ndarray of bool, shape (n_columns,), optional
        Which columns are of households with an imputed tax return.

    Returns
    -------
    dict
        columns, kept, sum, largest and its share of the sum, effective_sample_size, the share of the sum that the largest
        1 % of the kept hold, and the shares of the sum and of the kept that are imputed (NaN if that is unknown). For
        districts: their number, how many kept nothing, the least, fifth percentile and median of
        their kept columns and of their effective sample sizes, the largest share of a district's sum that one column holds,
        and the share that the largest weight of all holds in its district.
    """
    total = float(weights.sum())
    largest = float(weights.max(initial=0.0))
    kept = int(np.count_nonzero(weights))
    rest = len(weights) - -(-kept // 100)
    top = np.partition(weights, rest)[rest:] if kept else weights[:0]
    summary = {
        "columns": float(len(weights)),
        "kept": float(kept),
        "sum": total,
        "largest": largest,
        "largest_share": largest / total if total > 0 else 0.0,
        "top_1_percent_share": float(top.sum()) / total if total > 0 else 0.0,
        "effective_sample_size": effective_sample_size(weights),
        "imputed_share": _share_of(imputed, weights),
        "imputed_share_of_kept": _share_of(imputed, (weights > 0).astype(np.float64)),
    }
    if district is not None and len(weights):
        table = district_table(weights, district)
        of_largest = table["district"] == district[int(weights.argmax())]
        summary |= {
            "districts": float(len(table)),
            "districts_empty": float(np.count_nonzero(table["kept"] == 0)),
            **_low_end("kept_per_district", table["kept"].to_numpy()),
            **_low_end("effective_sample_size_of_district", table["effective_sample_size"].to_numpy()),
            "largest_share_of_district": float(table["largest_share"].max()),
            "largest_share_of_its_district": float(table.loc[of_largest, "largest_share"].iloc[0]),
        }
    return summary


def _share_of(which: Bools | None, amounts: Floats) -> float:
    """Share of a sum that some of its terms make up; 0 of a sum of 0, NaN if they are unknown."""
    if which is None:
        return float("nan")
    total = float(amounts.sum())
    return float(amounts[which].sum()) / total if total > 0 else 0.0


def _low_end(name: str, values: NDArray[Any]) -> dict[str, float]:
    """Least, fifth percentile and median."""
    found = zip(("least", "p5", "median"), np.quantile(values, [0.0, 0.05, 0.5]).tolist(), strict=True)
    return {f"{name}_{part}": value for part, value in found}


def district_table(weights: Floats, district: NDArray[np.integer], imputed: Bools | None = None) -> pd.DataFrame:
    """A row for each district: district, columns, kept, sum, largest, largest_share (of its sum), effective_sample_size,
    imputed_share (of its sum; NaN if it is unknown which columns are imputed).
    """
    codes, place = np.unique(district, return_inverse=True)
    total, squares = (np.bincount(place, weights=values, minlength=len(codes)) for values in (weights, weights**2))
    largest = np.zeros(len(codes))
    np.maximum.at(largest, place, weights)
    in_imputed = np.full(len(codes), np.nan)
    if imputed is not None:
        in_imputed = np.bincount(place[imputed], weights=weights[imputed], minlength=len(codes))
    return pd.DataFrame(
        {
            "district": codes,
            "columns": np.bincount(place, minlength=len(codes)),
            "kept": np.bincount(place[weights > 0], minlength=len(codes)),
            "sum": total,
            "largest": largest,
            "largest_share": np.divide(largest, total, out=np.zeros(len(codes)), where=total > 0),
            "effective_sample_size": np.divide(total**2, squares, out=np.zeros(len(codes)), where=squares > 0),
            "imputed_share": in_imputed / np.where(total > 0, total, 1.0),
        }
    )


def additivity(errors: pd.DataFrame) -> pd.DataFrame:
    """Whether the levels add up, for each kind of target that is there at two neighbouring levels with all its areas.

    Returns
    -------
    DataFrame
        Columns total (``national`` or ``state``), family, totals (how many were compared), estimate_gap and target_gap: the
        largest |sum of the parts - total| / |total| among estimates and among targets. A target gap says that the published
        figures contradict each other by that much, so that no weights can meet them all.
    """
    table = errors.assign(kind=errors["name"].str.partition("/")[2])
    national, state, district = (table[table["level"] == level] for level in _LEVEL_ORDER)
    state = state.assign(key=pd.to_numeric(state["geographic_id"]).astype(int))
    district = district.assign(key=pd.to_numeric(district["geographic_id"]).astype(int) // 100)
    frames = [
        _gaps("national", national.assign(key=0), state.assign(key=0)),
        _gaps("state", state, district),
    ]
    return pd.concat(frames, ignore_index=True)


def _gaps(level: str, totals: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Gaps between totals and the sums of their parts, where every area that has any part has one."""
    wanted = parts.groupby("key")["geographic_id"].nunique().rename("wanted")
    sums = parts.groupby(["key", "kind"]).agg(
        parts_target=("target", "sum"), parts_estimate=("estimate", "sum"), areas=("geographic_id", "nunique")
    )
    joined = totals.merge(sums.reset_index(), on=["key", "kind"]).merge(wanted.reset_index(), on="key")
    joined = joined[joined["areas"] == joined["wanted"]]
    for name in ("target", "estimate"):
        gap = np.abs(joined[f"parts_{name}"] - joined[name])
        joined[f"{name}_gap"] = np.where(gap == 0, 0.0, gap / np.maximum(np.abs(joined[name]), np.finfo(float).tiny))
    result = joined.groupby("family", sort=True).agg(
        totals=("name", "size"), estimate_gap=("estimate_gap", "max"), target_gap=("target_gap", "max")
    )
    result.insert(0, "total", level)
    return result.reset_index()[["total", "family", "totals", "estimate_gap", "target_gap"]]
