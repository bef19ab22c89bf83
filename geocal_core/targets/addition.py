"""A figure of one's own added to a target database, by the rules that hold for published ones, whole or not at all.

The stratum is looked up by what its constraints mean; a new one hangs on the stratum that already holds most of them: its
place, those who file, a domain. The database is copied, changed, checked and moved into place.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.store import atomic
from geocal_core.targets.constraints import GEOGRAPHIC, Constraint, brackets, check_consistent, place_constraints
from geocal_core.targets.describe import key_of, place_in_words, target_in_words
from geocal_core.targets.reading import reading
from geocal_core.targets.schema import (
    PERIODS,
    Alternative,
    FieldValidValue,
    Source,
    Stratum,
    StratumConstraint,
    Target,
    connect,
)
from geocal_core.targets.select import load_targets
from geocal_core.targets.vocabulary import COUNT, DOLLAR, target_variable, variables

_TRUTH = {"True": 1, "False": 0, "1": 1, "0": 0}
_MOST = 2**31 - 1
_LARGEST = 1e15  # more than all that the nation owns, in dollars
_WEB_ADDRESS = re.compile(r"https?://[\w.-]+(:\d+)?([/?#]\S*)?")
_FILER = "tax_unit_is_filer"


@dataclass(frozen=True)
class Addition:
    """A target to add.

    Attributes
    ----------
    variable : str
        What is counted or added up.
    value : float
        In dollars or counts, of ``period``.
    period : int
    place : int
        0 for the nation, FIPS code of a state, or a district's code.
    rules : tuple of Constraint
        What its stratum demands besides place.
    source : str
        A source that the database knows, or a new one with its ``url``.
    url : str
        Where a new source is published; empty for a known one.
    tolerance : float or None
        90 percent margin of error, in the unit of the value.
    notes : str or None
    reform_id : int
        Above 0: the change in income tax when the variable is neutralised.

    Raises
    ------
    ConfigError
        If the variable cannot be a target, a number is out of its range, or the constraints do not fit their variables or
        each other.
    """

    variable: str
    value: float
    period: int
    place: int
    source: str
    rules: tuple[Constraint, ...] = ()
    url: str = ""
    tolerance: float | None = None
    notes: str | None = None
    reform_id: int = 0

    def __post_init__(self) -> None:
        unit = target_variable(self.variable).unit
        if not abs(self.value) <= _LARGEST or (unit == COUNT and self.value < 0):
            raise ConfigError(
                f"the value {self.value} of {self.variable} is no figure", "give a number up to 1e15, counts from 0 up"
            )
        if self.tolerance is not None and not 0 <= self.tolerance <= _LARGEST:
            raise ConfigError(f"the tolerance {self.tolerance} is no margin of error", "give a number from 0 to 1e15")
        if self.period not in PERIODS:
            raise ConfigError(f"the period {self.period} is out of range", f"periods are {PERIODS[0]} to {PERIODS[-1]}")
        if not 0 <= self.reform_id <= _MOST or (self.reform_id > 0 and unit != DOLLAR):
            raise ConfigError(
                f"reform {self.reform_id} of {self.variable} is none",
                f"a reform is above 0, at most {_MOST}, and neutralises a variable in dollars",
            )
        if not self.source.strip():
            raise ConfigError("the source has no name", "give --source NAME")
        for name, text in (("source", self.source), ("notes", self.notes or "")):
            if text != text.strip() or not text.isprintable():
                raise ConfigError(f"the {name} {text!r} is not one line of text", "leave out line ends and outer blanks")
        if self.url and not _WEB_ADDRESS.fullmatch(self.url):
            raise ConfigError(f"the url {self.url!r} is no web address", "give it with https://")
        for rule in self.rules:
            _check_type(rule)
        if len(set(self.rules)) < len(self.rules):
            raise ConfigError("a constraint is given twice", "give each once")
        check_consistent(self.rules)

    @property
    def words(self) -> str:
        """What it measures."""
        return target_in_words(self.variable, self.rules, self.place, self.reform_id)


def add_target(db: Path, output: Path, addition: Addition, year: int, *, replace: bool = False) -> int:
    """Write a database with one target more.

    Parameters
    ----------
    db : Path
        A target database.
    output : Path
        The database to write: ``db`` itself, or a file that is not there.
    addition : Addition
    year : int
        A calibration to this year must be able to take the result.
    replace : bool
        Whether a target of the same variable, period, stratum and reform is replaced. Its figure stays as an alternative
        if it is of another source.

    Returns
    -------
    int
        Id of the target.

    Raises
    ------
    ConfigError
        If there is such a target already, the source is unknown, the place has no stratum, the stratum breaks a rule, or
        the result could not be uprated to the year.
    ArtifactError
        If the database cannot be read or written, or a store would refuse it once it is changed.
    """
    output = output.resolve()
    same = output == db.resolve()
    if output.exists() and not same:
        raise ConfigError(f"{output} is there already", "give --output a new file")
    root = _store_of(output)
    if root is not None:
        raise ArtifactError(
            f"{output.name} is an artifact of the store {root}, which refuses it once it is changed", "give --output NEWFILE"
        )
    with _alone(db), atomic(output) as temporary:
        with reading(db) as connection:
            connection.execute("VACUUM INTO ?", (str(temporary),))
        target_id = _change(temporary, addition, replace)
        load_targets(temporary, year)
    return target_id


def _check_type(rule: Constraint) -> None:
    """Refuse a constraint that its variable can never be held against."""
    known = variables().get(rule.variable)
    if known is None:
        near = get_close_matches(rule.variable, variables(), n=3)
        raise ConfigError(f"{rule.variable!r} is no variable of the engine", f"near it are {', '.join(near)}" if near else None)
    if rule.variable in GEOGRAPHIC:
        raise ConfigError(f"the constraint {rule} names a place", "give places with --place")
    if known.unit == COUNT:
        raise ConfigError(f"the constraint {rule} looks at a count", "constraints look at variables of the engine")
    if known.unit == "truth" and (rule.operation not in ("==", "!=") or rule.value not in _TRUTH):
        raise ConfigError(
            f"{rule.variable} is true or false, which {rule} does not fit", f"write {rule.variable}==True or ==False"
        )
    if known.unit == "text" and rule.operation not in ("==", "!="):
        raise ConfigError(f"{rule.variable} is text, which {rule} does not fit", "use == or !=")
    if known.unit not in ("truth", "text") and rule.number is None:
        raise ConfigError(f"{rule.variable} is a number, which {rule} does not fit", "compare it with a number")


def _store_of(path: Path) -> Path | None:
    """Root of the store that has a manifest of this file, if there is one."""
    manifests = ((root, root / "manifests" / f"{path.relative_to(root).as_posix()}.json") for root in path.parents)
    return next((root for root, manifest in manifests if manifest.is_file()), None)


@contextmanager
def _alone(db: Path) -> Iterator[None]:
    """Hold a lock on a database, so that of two additions at once the second adds to the first's result."""
    while True:
        try:
            handle = os.open(db, os.O_RDONLY)
        except OSError:  # what is wrong with it is told by who reads it
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle), os.stat(db)):
                yield
                return
        finally:
            os.close(handle)


def _change(path: Path, addition: Addition, replace: bool) -> int:
    engine = connect(path)
    try:
        with Session(engine) as session:
            _admit_source(session, addition)
            stratum_id = _stratum(session, path, addition)
            target = _target(session, stratum_id, addition, replace)
            session.commit()
            return target.target_id
    except IntegrityError as error:
        raise ConfigError(f"the database refuses {addition.words}: {error.orig}") from error
    except DBAPIError as error:
        raise ArtifactError(f"{path.name} cannot be changed ({error.orig})", "build it again, or free space") from error
    finally:
        engine.dispose()


def _admit_source(session: Session, addition: Addition) -> None:
    """Check that the source may be used; note a new one with where it is published. It has no file and so no digest."""
    known = set(session.scalars(select(FieldValidValue.valid_value).where(FieldValidValue.field_name == "source")))
    if addition.source in known:
        if addition.url:
            raise ConfigError(f"the source {addition.source!r} is known already", "leave out --url")
        return
    if not addition.url:
        near = get_close_matches(addition.source, known, n=3)
        remedy = "give its --url to make it known" + (f"; near it are {', '.join(near)}" if near else "")
        raise ConfigError(f"the database knows no source {addition.source!r}", remedy)
    session.add(FieldValidValue(field_name="source", valid_value=addition.source, description=addition.url))
    agency = urlsplit(addition.url).hostname or ""
    source = Source(source=addition.source, agency=agency, file="", url=addition.url, digest="", vintage=addition.period)
    session.add(source)
    session.flush()


def _stratum(session: Session, path: Path, addition: Addition) -> int:
    """Id of the stratum of a place and constraints, which is made below the one that holds most of them."""
    wanted = {_meaning(rule): rule for rule in (*place_constraints(addition.place), *addition.rules)}
    parent_id, held = _nearest(path, addition.place, wanted)
    lacking = [rule for meaning, rule in wanted.items() if meaning not in {_meaning(rule) for rule in held}]
    filing = [rule for rule in lacking if rule.variable == _FILER]
    # Those who file are a stratum of their own, on which all that is known of them hangs.
    for added in (filing, [rule for rule in lacking if rule not in filing]):
        if added:
            held = (*held, *added)
            parent_id = _new_stratum(session, parent_id, held, addition.place)
    return parent_id


def _nearest(path: Path, place: int, wanted: Iterable[object]) -> tuple[int, tuple[Constraint, ...]]:
    """The stratum of a place that demands as much as possible of what is wanted, and nothing else."""
    rules: dict[int, list[Constraint]] = {}
    with reading(path) as connection:
        for (stratum_id,) in connection.execute("SELECT stratum_id FROM strata ORDER BY 1"):
            rules[stratum_id] = []
        for stratum_id, *constraint in connection.execute(
            "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints ORDER BY 1, 2, 3"
        ):
            rules[stratum_id].append(Constraint(*constraint))
    at_place, goal = set(place_constraints(place)), set(wanted)
    within = {
        stratum_id: tuple(of_one)
        for stratum_id, of_one in rules.items()
        if at_place <= set(of_one) and {_meaning(rule) for rule in of_one} <= goal
    }
    if not within:
        raise ConfigError(f"{path.name} has no stratum of {key_of(place)}", "build the database with that place in scope")

    def rank(stratum_id: int) -> tuple[int, bool, int]:
        of_one = within[stratum_id]
        return len(of_one), any(rule.variable == _FILER for rule in of_one), -stratum_id

    best = max(within, key=rank)
    return best, within[best]


def _meaning(rule: Constraint) -> tuple[str, str, float | str]:
    """What a constraint says, however its value is written: ``True`` and ``1``, ``5`` and ``5.0`` are the same."""
    known = variables().get(rule.variable)
    if known is None or known.unit == "text":
        return rule.variable, rule.operation, rule.value
    number = _TRUTH.get(rule.value, rule.number)
    return rule.variable, rule.operation, rule.value if number is None else number


def _new_stratum(session: Session, parent_id: int, rules: tuple[Constraint, ...], place: int) -> int:
    constraints = [StratumConstraint(constraint_variable=r.variable, operation=r.operation, value=r.value) for r in rules]
    below = brackets(rule for rule in rules if rule.variable not in GEOGRAPHIC)
    stratum = Stratum(
        stratum_id=1 + session.scalars(select(func.max(Stratum.stratum_id))).one(),
        parent=session.get_one(Stratum, parent_id),
        notes=f"{place_in_words(place)} {below}",
        constraints=constraints,
    )
    session.add(stratum)
    session.flush()
    return stratum.stratum_id


def _target(session: Session, stratum_id: int, addition: Addition, replace: bool) -> Target:
    """The new target, or the one in its place with the new figure."""
    key = {
        "variable": addition.variable,
        "period": addition.period,
        "stratum_id": stratum_id,
        "reform_id": addition.reform_id,
    }
    target = session.scalars(select(Target).filter_by(**key)).one_or_none()
    if target is None:
        target = Target(target_id=1 + (session.scalars(select(func.max(Target.target_id))).one() or 0), **key)
        session.add(target)
    elif not replace:
        raise ConfigError(
            f"target {target.target_id} has {addition.words} of {addition.period} already: {target.value} ({target.source})",
            "give --replace to put the new figure in its place",
        )
    elif target.source is not None and target.source != addition.source:
        for other in session.scalars(select(Alternative).filter_by(target_id=target.target_id, source=addition.source)):
            session.delete(other)
        former = {"value": target.value, "tolerance": target.tolerance, "source": target.source, "notes": target.notes}
        session.add(Alternative(target_id=target.target_id, **former))
    target.value, target.active, target.tolerance = addition.value, True, addition.tolerance
    target.source, target.notes = addition.source, addition.notes
    return target
