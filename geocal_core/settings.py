"""The settings of every stage; ``profiles`` sets them all at once.

Plain frozen dataclasses with JSON-able fields and their defaults, light to import, because the factory reads them to make its
launch forms. What a stage does with its settings is said in the stage's own module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES

ALL_STATES: tuple[str, ...] = tuple(state.code for state in STATES)


@dataclass(frozen=True)
class RawSettings:
    """Where the files of one source come from.

    Attributes
    ----------
    origin : str
        ``demo`` (the synthetic nation writes them), ``folder`` (files as published, in ``folder``) or ``publisher`` (files
        are downloaded).
    folder : str
        Folder that holds the published files; for ``publisher``, where downloads are kept (empty: ``GEOCAL_CACHE``, or
        ``~/.cache/geocal``).
    without : tuple of str
        Published names of files that are known to be missing and are left out on purpose.
    states : tuple of str
        Postal codes of the states that the demo nation consists of.
    households : int
        Size of the demo's sample, where the source is a survey (households or tax returns).
    seed : int
        Seed of the demo nation.
    """

    origin: str = "demo"
    folder: str = ""
    without: tuple[str, ...] = ()
    states: tuple[str, ...] = ALL_STATES
    households: int = 0
    seed: int = 0


@dataclass(frozen=True)
class CpsSettings:
    """Reading of the CPS ASEC: income year of the file that is wanted."""

    year: int = 2024


@dataclass(frozen=True)
class PufSettings:
    """Reading of the IRS public use file: the year to which its amounts are brought."""

    year: int = 2024


@dataclass(frozen=True)
class ExtendedCpsSettings:
    """Quantile forests that give the doubled CPS the tax variables of the PUF."""

    trees: int = 100
    training_records: int = 20_000
    seed: int = 0


@dataclass(frozen=True)
class HouseholdAgiSettings:
    """The year for which household incomes are simulated."""

    year: int = 2024


@dataclass(frozen=True)
class StratifiedCpsSettings:
    """Size of the stratified file, in households."""

    households: int = 12_000
    seed: int = 0


@dataclass(frozen=True)
class TargetSettings:
    """Which targets are built: their year, the states in scope and the sources to leave out.

    Attributes
    ----------
    without : tuple of str
        Names of tables that are known to be missing and are left out on purpose, for example ``irs_soi_district``.
    known_totals : bool
        Whether the files are the agencies' own, so that they must give the totals in ``data/known_totals.csv``; made-up files
        do not.
    selection : str
        Which targets are active (``geocal_core.targets.selection``): ``default``, ``full``, ``holdout`` or a YAML file. The
        places of households are drawn by the active AGI targets.
    """

    year: int = 2024
    states: tuple[str, ...] = ALL_STATES
    without: tuple[str, ...] = ()
    known_totals: bool = False
    selection: str = "full"


@dataclass(frozen=True)
class BlockSettings:
    """The states whose blocks, with all of their geographies, are read."""

    states: tuple[str, ...] = ALL_STATES


@dataclass(frozen=True)
class GeographySettings:
    """The draw of a census block for every (household, clone).

    Attributes
    ----------
    clones : int
        Copies of each household.
    top_agi_share : float
        Share of households, from the top by AGI, that is routed by the districts' AGI targets.
    agi_level : str
        ``district``, or ``state`` where no district figures exist: then a state's AGI is shared out by population.
    """

    clones: int = 430
    top_agi_share: float = 0.10
    agi_level: str = "district"
    year: int = 2024
    seed: int = 42


@dataclass(frozen=True)
class PackageSettings:
    """The calibration package.

    Attributes
    ----------
    year : int
        Year of the simulation.
    seed : int
        Seed of the take-up draws.
    targets : str
        Which targets get a row and which of them are held out: ``default``, ``full``, ``holdout`` or a YAML file.
    takeup : str
        How take-up is drawn: ``counter``, or ``reference`` for comparison with the reference system's files.
    initial_weights : str
        Weights at which a fit starts: ``survey`` (the survey's, spread over clones by place shares) or ``reference`` (the
        reference system's people per column).
    checked_columns : int
        Columns of each state that are simulated a second time, plainly, and must come out the same; 0 for none.
    """

    year: int = 2024
    seed: int = 0
    targets: str = "default"
    takeup: str = "counter"
    initial_weights: str = "survey"
    checked_columns: int = 10


@dataclass(frozen=True)
class FitSettings:
    """The fit; of its hyper-parameters None takes the value of the preset (``geocal_core.fit.presets``).

    Attributes
    ----------
    epochs : int
        Epochs with gates; 0 for the refit alone, from where ``start_from`` stands.
    lambda_share : float or None
        Price of all gates open as a share of the loss of no weights, in place of ``lambda_l0``.
    log_every : int
        Epochs between the rows of the log.
    targets : str
        Narrows the package's targets once more and holds more of them out: ``default``, ``full``, ``holdout`` or a YAML file;
        the empty text takes them as the package has them.
    scale : str
        What errors are relative to: ``safe`` (the target, but at least ``floor``) or ``reference`` (the target plus 1).
    floor : float
        Least scale, in a target's own unit.
    huber : float or None
        Relative error beyond which the loss grows linearly.
    margins : float
        Share of a publisher's margin of error within which nothing is lost; 0 for none.
    groups : str
        Column of the targets, such as ``variable`` or ``geo_level``, whose groups share the loss evenly; empty: targets do.
    group_weights : tuple of str
        Shares of groups, such as ``snap=2``, in units of that of a group that is not named; 0 leaves a group out of the loss.
    start_from : str
        Weights (``.npy``) of an earlier fit to start from, of the same columns; what they left out stays out.
    records : int
        Columns to keep, exactly; 0 leaves their number to the gates.
    method : str
        How an exact number is kept: ``cube`` (a balanced sample of the dense solution), ``pps`` (a plain one), ``gates`` (the
        largest weights that gates leave; the others have no use for epochs and hyper-parameters) or ``random``; a polish
        follows.
    """

    preset: str = "local"
    epochs: int = 1000
    device: str = "cpu"
    seed: int = 0
    lambda_l0: float | None = None
    lambda_share: float | None = None
    lambda_l2: float | None = None
    beta: float | None = None
    learning_rate: float | None = None
    refit_epochs: int = 300
    log_every: int = 100
    targets: str = ""
    scale: str = "safe"
    floor: float = 1.0
    huber: float | None = None
    margins: float = 0.0
    groups: str = ""
    group_weights: tuple[str, ...] = ()
    start_from: str = ""
    records: int = 0
    method: str = "cube"


@dataclass(frozen=True)
class AreaSettings:
    """The area files: year, seed and scheme of the take-up draws, which must be those of the package."""

    year: int = 2024
    seed: int = 0
    takeup: str = "counter"


@dataclass(frozen=True)
class ReportSettings:
    """The report of errors: how many of the worst targets it lists."""

    worst: int = 50


Settings = (
    RawSettings
    | CpsSettings
    | PufSettings
    | ExtendedCpsSettings
    | HouseholdAgiSettings
    | StratifiedCpsSettings
    | TargetSettings
    | BlockSettings
    | GeographySettings
    | PackageSettings
    | FitSettings
    | AreaSettings
    | ReportSettings
)


SettingsT = TypeVar("SettingsT", bound=Settings)

# Of whole numbers: beyond it no array can be made, and numpy says so in words that name no setting.
_LARGEST = 2**31 - 1


def as_config(settings: Settings) -> dict[str, Any]:
    """Settings as JSON-able values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()}


def from_config(kind: type[SettingsT], config: Mapping[str, Any]) -> SettingsT:
    """Settings of one kind from JSON-able values; an unknown name is an error, a missing one takes its default.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is of another type; what range a setting has is said by its stage.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise ConfigError(f"{kind.__name__} has no setting {unknown[0]!r}", f"its settings are {sorted(known)}")
    hints = get_type_hints(kind)
    for name, value in config.items():
        wanted = _wanted(hints[name], value)
        if wanted:
            raise ConfigError(f"the setting {name} of {kind.__name__} is {value!r}", f"it must be {wanted}")
    states = config.get("states")
    if states is not None and (not states or len(set(states)) != len(states)):
        raise ConfigError(f"the setting states of {kind.__name__} is none or repeated", "give each postal code once")
    make: Callable[..., SettingsT] = kind
    return make(**{key: tuple(value) if isinstance(value, list) else value for key, value in config.items()})


def _wanted(hint: Any, value: Any) -> str:
    """What a setting of this type must be, where the value is something else; else the empty text."""
    if hint == tuple[str, ...]:
        fits = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        return "" if fits else "a list of texts"
    if hint is str:
        return "" if isinstance(value, str) else "a text"
    if hint is bool:
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(value, bool):
        return "a number"
    if hint is int:
        return "" if isinstance(value, int) and abs(value) <= _LARGEST else f"a whole number of at most {_LARGEST}"
    if value is None and NoneType in get_args(hint):
        return ""
    return "" if isinstance(value, int | float) and isfinite(value) else "a finite number"
