"""The one amount of retirement contributions that the CPS asks for, split by kind of plan.

Shares and limits are data (``data/retirement.json``). Limits of each plan are the engine's business: what is given to it are
contributions wished for, before limits.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.population.population import Column

_SHARES = Path(__file__).parent / "data" / "retirement.json"


def desired_contributions(
    reported: NDArray[np.float64], wages: NDArray[np.float64], self_employment: NDArray[np.float64], year: int
) -> dict[str, Column]:
    """Contributions by kind of plan; they add up to ``reported`` for everybody with earnings, and are 0 for others.

    A self-employed plan comes first, up to a rate of the profit and a dollar limit; of the rest, a share goes to a plan at
    work if there are wages; what remains goes to an IRA. Both divide into a traditional and a Roth part.

    Parameters
    ----------
    reported, wages, self_employment : ndarray of float64, shape (n_persons,)
        Dollars of the year.
    year : int

    Raises
    ------
    ConfigError
        If the limit of the year is not known.
    """
    shares = json.loads(_SHARES.read_text())
    if str(year) not in shares["self_employed_limit"]:
        raise ConfigError(f"the limit of self-employed retirement plans of {year} is not known", f"add it to {_SHARES.name}")
    profit = np.maximum(self_employment, 0)
    cap = np.minimum(shares["self_employed_rate"] * profit, shares["self_employed_limit"][str(year)])
    given = np.where((wages > 0) | (profit > 0), np.maximum(reported, 0), 0.0)
    own_plan = np.minimum(given, cap)
    at_work = np.where(wages > 0, shares["workplace_share"] * (given - own_plan), 0.0)
    ira = given - own_plan - at_work
    return {
        "self_employed_pension_contributions_desired": own_plan,
        "traditional_401k_contributions_desired": at_work * (1 - shares["workplace_roth_share"]),
        "roth_401k_contributions_desired": at_work * shares["workplace_roth_share"],
        "traditional_ira_contributions_desired": ira * shares["ira_traditional_share"],
        "roth_ira_contributions_desired": ira * (1 - shares["ira_traditional_share"]),
    }
