"""The dense reference of a package as a folder: raked weights, their certificate, shadow prices, and which targets fight.

What an analyst reads before any record is dropped: how near all records together can come, and what stands in the way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geocal_core.errors import ConfigError
from geocal_core.fit.conflicts import Conflicts, conflicts
from geocal_core.fit.inputs import inputs
from geocal_core.fit.output import SCORECARD_FILES, WEIGHTS, write_scorecard
from geocal_core.fit.raking import BOUNDS, PRICE, Raked, rake
from geocal_core.fit.scorecard import scorecard
from geocal_core.progress import Reporter
from geocal_core.settings import FitSettings

PRICES = "shadow_prices.csv"
CONFLICTS = "conflicts.csv"
SUMS = "conflicting_sums.csv"
TEXT = "conflicts.md"
FACTS = "rake.json"
FILES = frozenset((WEIGHTS, PRICES, CONFLICTS, SUMS, TEXT, FACTS, *SCORECARD_FILES))


@dataclass(frozen=True)
class RakeSettings:
    """How the dense reference is found, as in ``rake`` and ``conflicts``.

    Attributes
    ----------
    price : float
        Of a loss of 1, in units of a mean distance of 1.
    bounds : pair of float, or None
        Least and greatest ratio of a weight to its start.
    gap : float
        Relative duality gap to stop at.
    most, solved : int
        Targets that are told of, and of how many of them the gain is found by solving again.
    """

    price: float = PRICE
    bounds: tuple[float, float] | None = BOUNDS
    gap: float = 1e-4
    most: int = 50
    solved: int = 3


def rake_package(package: Path, output: Path, settings: FitSettings, raking: RakeSettings, reporter: Reporter) -> str:
    """Rake a package into a folder to be made, which then holds ``FILES``; gives the conflicts as Markdown.

    ``settings`` say which targets count and how they are weighed; what they say of gates means nothing here.

    Raises
    ------
    ArtifactError
        If the package is damaged.
    ConfigError
        If a setting is out of its range, or a device other than the CPU is asked for.
    """
    if settings.device != "cpu":
        raise ConfigError(f"raking runs on the CPU and device {settings.device!r} was asked for", "use device cpu")
    made = inputs(package, settings, reporter)
    problem, opened = made.problem, made.package
    raked = rake(problem, price=raking.price, bounds=raking.bounds, gap=raking.gap, tell=reporter.progress)
    reporter.progress(f"which targets fight: {raking.solved} of them are given room, one by one")
    fights = conflicts(problem, raked, most=raking.most, solved=raking.solved)
    card = scorecard(problem, raked.weights, made.targets, opened.district, opened.imputed_columns)
    output.mkdir(parents=True)
    with (output / WEIGHTS).open("wb") as stream:
        np.save(stream, raked.weights, allow_pickle=False)
    raked.targets.to_csv(output / PRICES, index=False, lineterminator="\n")
    fights.targets.to_csv(output / CONFLICTS, index=False, lineterminator="\n")
    fights.sums.to_csv(output / SUMS, index=False, lineterminator="\n")
    write_scorecard(output, card)
    text = _markdown(raked, fights)
    (output / TEXT).write_text(text, encoding="utf-8")
    facts = {**made.facts, **_certificate(raked), "loss": card.optimality["loss"]}
    (output / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return text


def _certificate(raked: Raked) -> dict[str, object]:
    names = ("primal", "dual", "gap", "distance", "cost", "iterations", "converged", "method", "at_lower", "at_upper", "price")
    bounds = None if raked.bounds is None else list(raked.bounds)
    return {**{name: getattr(raked, name) for name in names}, "weight_bounds": bounds}


def _markdown(raked: Raked, fights: Conflicts) -> str:
    """Certificate and conflicts in words."""
    limits = "without bounds" if raked.bounds is None else "within {:g} to {:g} times their start".format(*raked.bounds)
    reached = "" if raked.converged else ", which is not the gap that was asked for"
    certificate = (
        f"Weights {limits}: mean distance {raked.distance:.6g}, misses cost {raked.cost:.6g}. No such weights are better by "
        f"more than {raked.gap:.1e} of their sum{reached}. {raked.at_lower:,} columns are at the lower bound, "
        f"{raked.at_upper:,} at the upper."
    )
    return "\n".join([certificate, "", *(f"- {line}" for line in fights.lines()), ""])
