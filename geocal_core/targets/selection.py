"""Which targets are used, said in YAML: ``include`` and ``exclude`` choose them, ``holdout`` marks those that are never fitted.

The same rules serve three times: when the database is built (what is not selected is stored inactive), when the package is
built (what is not selected has no matrix row), and when it is fitted. A rule that matches nothing is an error with the nearest
names, because a mistyped rule that is passed over changes the calibration without a word; only a rule that says
``optional: true``, as those of the configurations shipped here do, may speak of tables that a database lacks.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.settings import FitSettings, PackageSettings, TargetSettings
from geocal_core.store import canonical_json, fingerprint
from geocal_core.targets.figures import LEVELS
from geocal_core.targets.vocabulary import variables

SHIPPED = ("default", "full", "holdout", "valued")
"""Names of the configurations in ``configs/``."""

_LISTS = ("include", "exclude", "holdout")
_STAR = "*"
_ACTIVE = """
SELECT o.target_id, o.variable, o.geo_level, COALESCE(o.domain_variable, '') AS domain_variable,
  COALESCE(t.source, '') AS source, COALESCE(o.reform_id, 0) AS reform_id
FROM target_overview o JOIN targets t ON t.target_id = o.target_id WHERE o.active = 1 ORDER BY o.target_id
"""
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Rule:
    """Targets that have all the properties given; in a text, ``*`` stands for anything.

    Attributes
    ----------
    variable : str
    geo_level : str, optional
        ``national``, ``state`` or ``district``.
    domain_variable : str, optional
        The variables that the stratum constrains, sorted and joined by commas as in the view ``target_overview``; the empty
        text for targets of everyone in a place.
    source : str, optional
        Source as listed in ``data/sources.csv``.
    reform_id : int, optional
        0 for totals, above 0 for changes under a reform.
    optional : bool
        Whether it may match nothing.
    """

    variable: str
    geo_level: str | None = None
    domain_variable: str | None = None
    source: str | None = None
    reform_id: int | None = None
    optional: bool = False

    def conditions(self) -> dict[str, str | int]:
        """The properties that it asks for, by column."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "optional"}
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}: {value!r}" for name, value in self.conditions().items()) + "}"


@dataclass(frozen=True)
class Selection:
    """Rules by which targets are chosen; the order of rules means nothing.

    Attributes
    ----------
    include : tuple of Rule
        Targets to take; all of them where there is no rule.
    exclude : tuple of Rule
        Targets to leave out of those.
    holdout : tuple of Rule
        Targets among the rest that are scored and never fitted.
    name : str
        Name or file, for messages.
    """

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()
    holdout: tuple[Rule, ...] = ()
    name: str = "the selection"


def selected(selection: Selection, targets: pd.DataFrame, tell: Callable[[str], None] | None = None) -> pd.DataFrame:
    """The targets that a selection chooses.

    Parameters
    ----------
    selection : Selection
    targets : DataFrame
        Columns ``variable``, ``geo_level``, ``domain_variable`` and what else a rule asks for (``source``, ``reform_id``).
        A target that a column ``held_out`` marks already stays held out.
    tell : callable, optional
        Given a line on optional rules that match nothing.

    Returns
    -------
    DataFrame
        The chosen rows in their order and with their index, and a column ``held_out`` (bool).

    Raises
    ------
    ConfigError
        If a rule matches nothing (``include`` among the targets, ``exclude`` among the included, ``holdout`` among the rest),
        or nothing is left to fit.
    """
    idle: list[str] = []
    chosen = targets
    if selection.include:
        chosen = chosen[_matching(selection, "include", chosen, targets, idle)]
    chosen = chosen[~_matching(selection, "exclude", chosen, targets, idle)]
    held = _matching(selection, "holdout", chosen, targets, idle)
    if "held_out" in chosen:
        held |= chosen["held_out"].to_numpy(dtype=np.bool_)
    if held.all():
        what = "holds out every target that it selects" if len(chosen) else f"selects none of {len(targets):,} targets"
        raise ConfigError(f"{selection.name} {what}", "leave some to fit")
    if idle and tell is not None:
        tell(f"{selection.name}: {len(idle)} optional rules match nothing here, such as {idle[0]}")
    return chosen.assign(held_out=held)


def _matching(selection: Selection, kind: str, among: pd.DataFrame, every: pd.DataFrame, idle: list[str]) -> NDArray[np.bool_]:
    """Rows that any rule of a list matches."""
    found = np.zeros(len(among), dtype=np.bool_)
    rules: tuple[Rule, ...] = getattr(selection, kind)
    for number, rule in enumerate(rules, 1):
        own = _matches(rule, among)
        if not own.any():
            _check_idle(rule, f"{selection.name}, {kind} rule {number} {rule}", every)
            idle.append(f"{kind} {rule}")
        found |= own
    return found


def _matches(rule: Rule, targets: pd.DataFrame) -> NDArray[np.bool_]:
    found = np.ones(len(targets), dtype=np.bool_)
    for column, wanted in rule.conditions().items():
        found &= _has(targets[column], wanted)
    return found


def _has(values: pd.Series, wanted: str | int) -> NDArray[np.bool_]:
    """Which values are the wanted one, or fit it where it holds a star."""
    if not isinstance(wanted, str) or _STAR not in wanted:
        return (values == wanted).to_numpy(dtype=np.bool_)
    pattern = re.compile(".*".join(re.escape(part) for part in wanted.split(_STAR)))
    fitting = {value for value in set(values) if pattern.fullmatch(value)}
    return values.isin(fitting).to_numpy(dtype=np.bool_)


def _check_idle(rule: Rule, called: str, targets: pd.DataFrame) -> None:
    """Refuse a rule that matches nothing, unless it is optional and its words exist."""
    if not rule.optional:
        raise ConfigError(f"{called} matches no target", _remedy(rule, targets))
    for word in (rule.variable, *(rule.domain_variable or "").split(",")):
        if word and _STAR not in word and word not in variables():
            near = get_close_matches(word, variables(), n=3)
            raise ConfigError(
                f"{called} speaks of {word!r}, which is no variable", f"near it are {', '.join(near)}" if near else None
            )


def _remedy(rule: Rule, targets: pd.DataFrame) -> str:
    """What there is in place of the first property that no target has together with those before it."""
    for column, wanted in rule.conditions().items():
        having = targets[_has(targets[column], wanted)]
        if having.empty:
            return f"{column} is one of {_nearest(str(wanted), targets[column])}"
        targets = having
    return "rules before it leave none of its targets; remove it"


def _nearest(wanted: str, present: pd.Series) -> str:
    values = sorted({str(value) for value in present})
    near = get_close_matches(wanted, values, n=5, cutoff=0.5) or values
    return ", ".join(repr(value) for value in near[:8]) + (" …" if len(near) > 8 else "")


def deactivate(database: Path, selection: Selection, tell: Callable[[str], None] | None = None) -> int:
    """Make every active target of a database inactive that a selection does not choose; their number.

    Raises
    ------
    ConfigError
        As ``selected`` does.
    """
    with closing(sqlite3.connect(database)) as connection:
        targets = pd.read_sql_query(_ACTIVE, connection)
        chosen = selected(selection, targets, tell)
        left_out = sorted(set(targets["target_id"]) - set(chosen["target_id"]))
        connection.executemany("UPDATE targets SET active = 0 WHERE target_id = ?", [(int(target),) for target in left_out])
        connection.commit()
    return len(left_out)


def read_selection(name_or_path: str) -> Selection:
    """The selection of a name (one of ``SHIPPED``) or of a YAML file.

    A file has lists of rules under ``include``, ``exclude`` and ``holdout``; ``base: default`` puts the rules of a shipped
    selection before its own.

    Raises
    ------
    ConfigError
        If there is no such name or file, PyYAML is not installed, or the file is not what it should be: the message names the
        file, the line and the rule.
    """
    if name_or_path in SHIPPED:
        text = resources.files("geocal_core.targets").joinpath("configs", f"{name_or_path}.yaml").read_text(encoding="utf-8")
        return _parse(text, f"selection {name_or_path!r}")
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        near = get_close_matches(name_or_path, SHIPPED, n=1)
        raise ConfigError(
            f"there is no selection of targets {name_or_path!r}",
            f"{f'near it is {near[0]}; ' if near else ''}give a YAML file, or one of {', '.join(SHIPPED)}",
        )
    try:
        return _parse(path.read_text(encoding="utf-8-sig"), path.name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} is not text in UTF-8 ({error.reason} at byte {error.start})") from error


def outside_digest(source: str, settings: TargetSettings | PackageSettings | FitSettings) -> str:
    """Digest of the rules that a stage takes from a file outside the store; empty where it takes a configuration shipped here.

    Of the rules, not of the bytes: a new comment in the file asks for no new package.
    """
    del source
    name = settings.selection if isinstance(settings, TargetSettings) else settings.targets
    if not name or name in SHIPPED:
        return ""
    selection = read_selection(name)
    return fingerprint({kind: sorted(canonical_json(asdict(rule)) for rule in getattr(selection, kind)) for kind in _LISTS})


def _parse(text: str, name: str) -> Selection:
    """A selection from YAML. Nodes are read as they stand, so that nothing is converted and every mistake has its line."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name} is YAML, and PyYAML is not installed to read it", "pip install pyyaml") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deeply"
        raise ConfigError(f"{name} is not YAML ({reason}{f', line {mark.line + 1}' if mark else ''})") from error
    remedy = f"give lists of rules under {', '.join(_LISTS)}"
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name} holds no rules", f"{remedy} (`exclude: []` takes every target)")
    entries = _entries(root, name, ("base", *_LISTS))
    rules: dict[str, tuple[Rule, ...]] = dict.fromkeys(_LISTS, ())
    if base := entries.pop("base", None):
        if base.value not in SHIPPED:
            raise ConfigError(
                f"{name}, line {_line(base)}: base is no selection shipped here", f"they are {', '.join(SHIPPED)}"
            )
        rules = {kind: getattr(read_selection(base.value), kind) for kind in _LISTS}
    for kind, node in entries.items():
        if not isinstance(node, yaml.SequenceNode):
            raise ConfigError(f"{name}, line {_line(node)}: {kind} is no list", remedy)
        if kind == "include" and not node.value:
            raise ConfigError(f"{name}, line {_line(node)}: include is empty", "leave it out to take every target")
        rules[kind] += tuple(_rule(of_one, f"{name}, {kind} rule {number}") for number, of_one in enumerate(node.value, 1))
    return Selection(**rules, name=name)


def _entries(node: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Nodes of a mapping by key; a key that is unknown or given twice is an error."""
    entries: dict[str, Any] = {}
    for key, value in node.value:
        name = key.value if isinstance(key.value, str) else "a list"
        at = f"{where} (line {_line(key)})"
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{at} has the key {name!r}", f"{f'{near[0]} is meant? ' if near else ''}keys are {', '.join(known)}"
            )
        if name in entries:
            raise ConfigError(f"{at} has the key {name!r} twice", "make one of the two")
        entries[name] = value
    return entries


def _rule(node: Any, where: str) -> Rule:
    at = f"{where} (line {_line(node)})"
    if node.tag != f"{_TAG}map":
        raise ConfigError(f"{at} is no rule", "write it as `- variable: snap` with geo_level, domain_variable … below")
    values = {key: _value(key, value, at) for key, value in _entries(node, where, tuple(f.name for f in fields(Rule))).items()}
    if not values.get("variable"):
        raise ConfigError(f"{at} names no variable", "every rule needs one")
    level = values.get("geo_level")
    if level is not None and level not in LEVELS:
        raise ConfigError(f"{at} has the geo_level {level!r}", f"levels are {', '.join(LEVELS)}")
    if _STAR not in values.get("domain_variable", _STAR):
        values["domain_variable"] = ",".join(
            sorted(filter(None, (part.strip() for part in values["domain_variable"].split(","))))
        )
    return Rule(**values)


def _value(key: str, node: Any, at: str) -> Any:
    if key == "reform_id":
        if node.tag == f"{_TAG}int" and node.value.isdecimal():
            return int(node.value)
        raise ConfigError(f"{at} has a {key} that is no whole number", "give 0 for totals, or the number of the reform")
    if key == "optional":
        if node.tag == f"{_TAG}bool":
            return node.value.lower() in ("true", "yes", "on")
        raise ConfigError(f"{at} has a value of {key} that is neither true nor false")
    if node.tag == f"{_TAG}str" and isinstance(node.value, str):
        return node.value
    raise ConfigError(f"{at} has a {key} that is no text", "give one name; quote it if it reads like a number or a truth value")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
