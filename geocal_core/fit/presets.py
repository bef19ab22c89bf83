"""The hyper-parameters of the L0 fit and their named presets.

The figures and where they come from are in ``data/presets.json``. ``local`` keeps most records, for district files;
``national`` closes more gates, for one small national file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from importlib.resources import files

from geocal_core.errors import ConfigError

NOISE_LIMIT = 1e-6
"""The noise of gates is that of uniform draws from here to as much below 1."""


@dataclass(frozen=True)
class Hyperparameters:
    """What shapes the objective and its optimiser.

    Attributes
    ----------
    lambda_l0 : float
        Price of one expected open gate, in units of the loss (a sum of squared relative errors). At least 0.
    lambda_share : float
        Where above 0, the price of all gates open as a share of the loss that no weights at all would have; it takes the place
        of ``lambda_l0`` and means the same in problems of other sizes.
    lambda_l2 : float
        Price of the sum of squared weights before their gates. At least 0.
    beta : float
        Temperature of the gates, above 0; lower means harder gates.
    gamma, zeta : float
        Interval to which a gate is stretched before it is clipped to [0, 1]; gamma below 0, zeta above 1.
    initial_keep : float
        Probability, in (0, 1), that sets the gates' starting logits.
    log_weight_jitter, log_alpha_jitter : float
        Standard deviations of the noise on the starting logarithms of weights and on the starting logits.
    learning_rate : float
        Step of Adam, above 0.
    retire_below : float
        Probability of opening, from 1e-6 to below 0.5, below which a gate that moves down is closed for good. At 1e-6 only
        gates go that no noise opens.
    """

    lambda_l0: float
    lambda_share: float
    lambda_l2: float
    beta: float
    gamma: float
    zeta: float
    initial_keep: float
    log_weight_jitter: float
    log_alpha_jitter: float
    learning_rate: float
    retire_below: float

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"{f.name} is {value!r}", "it must be a finite number")
        limits = (
            ("lambda_l0", self.lambda_l0 >= 0, "at least 0"),
            ("lambda_share", self.lambda_share >= 0, "at least 0"),
            ("lambda_l2", self.lambda_l2 >= 0, "at least 0"),
            ("beta", self.beta > 0, "above 0"),
            ("gamma", self.gamma < 0, "below 0"),
            ("zeta", self.zeta > 1, "above 1"),
            ("initial_keep", 0 < self.initial_keep < 1, "between 0 and 1"),
            ("log_weight_jitter", self.log_weight_jitter >= 0, "at least 0"),
            ("log_alpha_jitter", self.log_alpha_jitter >= 0, "at least 0"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("retire_below", NOISE_LIMIT <= self.retire_below < 0.5, f"from {NOISE_LIMIT:g} to below 0.5"),
        )
        for name, holds, range_ in limits:
            if not holds:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"it must be {range_}")

    @property
    def open_shift(self) -> float:
        """A gate whose logit is x is open with the logistic probability of x less this."""
        return self.beta * math.log(-self.gamma / self.zeta)

    @property
    def retired_logit(self) -> float:
        """Logit at and below which a gate opens with a probability of ``retire_below`` at most."""
        return self.open_shift + math.log(self.retire_below / (1.0 - self.retire_below))

    def priced(self, nothing: float, n_columns: int) -> Hyperparameters:
        """The same with ``lambda_l0`` by ``lambda_share``, if that is asked for; ``nothing`` is the loss of no weights."""
        return replace(self, lambda_l0=self.lambda_share * nothing / n_columns) if self.lambda_share else self


def _read() -> dict[str, Hyperparameters]:
    content = json.loads(files("geocal_core.fit").joinpath("data/presets.json").read_text(encoding="utf-8"))
    return {name: Hyperparameters(**content["shared"], **own) for name, own in content["presets"].items()}


PRESETS: dict[str, Hyperparameters] = _read()


def preset(name: str, **changes: float | None) -> Hyperparameters:
    """The hyper-parameters of a preset, with changes; a change that is None leaves the preset's value.

    Raises
    ------
    ConfigError
        If there is no such preset or hyper-parameter, a value is out of its range, or both prices of gates are given.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}", f"the presets are {', '.join(PRESETS)}")
    known = [f.name for f in fields(Hyperparameters)]
    unknown = [key for key in changes if key not in known]
    if unknown:
        raise ConfigError(f"there is no hyper-parameter {unknown[0]!r}", f"they are {', '.join(known)}")
    if changes.get("lambda_l0") is not None and changes.get("lambda_share"):
        raise ConfigError("both lambda_l0 and lambda_share are given", "give one price of open gates")
    return replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})
