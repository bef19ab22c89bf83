"""The target database: tables as SQLAlchemy models, its valid values, and the rules that a session holds when it flushes.

Strata, their constraints, targets and the values that fields may take. ``create`` makes an empty database, ``connect`` opens
an engine with foreign keys on. The rules themselves are in ``constraints.py`` and, in SQL, in ``ddl.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Engine, Float, ForeignKey, Index, Integer, String, UniqueConstraint, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from geocal_core.errors import ConfigError
from geocal_core.targets.constraints import OPERATIONS, Constraint, check_consistent, check_nested
from geocal_core.targets.ddl import VIEWS, triggers
from geocal_core.targets.vocabulary import SUMMED, sources, variables

# Wider than the years of any one build: SOI tables go back to tax year 2015, projections of the budget window run to 2035,
# and a figure keeps the period in which it was published until it is uprated.
PERIODS = range(2015, 2036)


class Base(DeclarativeBase):
    """Root of the models."""


class Stratum(Base):
    """A part of the population: those who satisfy all its constraints.

    ``definition_hash`` is filled in at flush from the parent's id and the constraints; a parent is flushed, or given its
    ``stratum_id``, before its children.
    """

    __tablename__ = "strata"
    __table_args__ = (UniqueConstraint("definition_hash", name="uq_strata_definition_hash"),)

    stratum_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    definition_hash: Mapped[str] = mapped_column(String(64))
    parent_stratum_id: Mapped[int | None] = mapped_column(ForeignKey("strata.stratum_id"), index=True)
    notes: Mapped[str | None]

    constraints: Mapped[list[StratumConstraint]] = relationship(back_populates="stratum", cascade="all, delete-orphan")
    # No cascade: a stratum goes only when its targets are gone (flushed), as the triggers demand.
    targets: Mapped[list[Target]] = relationship(back_populates="stratum", passive_deletes="all")
    parent: Mapped[Stratum | None] = relationship(remote_side=[stratum_id])

    def rules(self) -> tuple[Constraint, ...]:
        """Its constraints, sorted."""
        return tuple(sorted(Constraint(c.constraint_variable, c.operation, c.value) for c in self.constraints))


class StratumConstraint(Base):
    """One constraint of a stratum; at most one with an operation on a variable."""

    __tablename__ = "stratum_constraints"

    stratum_id: Mapped[int] = mapped_column(ForeignKey("strata.stratum_id"), primary_key=True)
    constraint_variable: Mapped[str] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    notes: Mapped[str | None]

    stratum: Mapped[Stratum] = relationship(back_populates="constraints")


class Target(Base):
    """A published total of a variable over a stratum, in dollars or counts, for the period of its publication.

    A name ending in ``_count`` counts native entities that satisfy the constraints; any other is an amount.
    ``reform_id`` above 0: the change in income tax when the variable is neutralised. ``tolerance`` is the publisher's margin of
    error (90 percent) in the unit of the value.
    """

    __tablename__ = "targets"
    __table_args__ = (
        UniqueConstraint("variable", "period", "stratum_id", "reform_id", name="_target_unique"),
        Index("ix_targets_stratum_id", "stratum_id"),
    )

    target_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    variable: Mapped[str]
    period: Mapped[int]
    stratum_id: Mapped[int] = mapped_column(ForeignKey("strata.stratum_id"))
    reform_id: Mapped[int | None] = mapped_column(default=0, server_default="0")
    value: Mapped[float | None] = mapped_column(Float)
    active: Mapped[bool | None] = mapped_column(Boolean, default=True, server_default="1")
    tolerance: Mapped[float | None] = mapped_column(Float)
    source: Mapped[str | None]
    notes: Mapped[str | None]

    stratum: Mapped[Stratum] = relationship(back_populates="targets")


class Source(Base):
    """A published file that figures of the database were read from.

    ``vintage`` is the latest period of its figures; ``retrieved`` the day (ISO) on which this content was first fetched, None
    if the file was not fetched by geocal.
    """

    __tablename__ = "sources"
    __table_args__ = (UniqueConstraint("source", "file", name="uq_sources"),)

    source_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    source: Mapped[str]
    agency: Mapped[str]
    file: Mapped[str]
    url: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    vintage: Mapped[int]
    retrieved: Mapped[str | None]


class Alternative(Base):
    """A figure that another source publishes for the very stratum, variable and period of a target, and that is not followed.

    The target's source is the more trusted of the two (``data/sources.csv``); the consistency report compares them.
    """

    __tablename__ = "alternative_figures"

    alternative_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("targets.target_id"), index=True)
    value: Mapped[float | None] = mapped_column(Float)
    tolerance: Mapped[float | None] = mapped_column(Float)
    source: Mapped[str]
    notes: Mapped[str | None]


class PlaceUprating(Base):
    """How much a series grew in one place, where that is published by state and differs from the nation's growth."""

    __tablename__ = "place_uprating"

    series: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    from_period: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    to_period: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    factor: Mapped[float] = mapped_column(Float)
    source: Mapped[str]


class FieldValidValue(Base):
    """A value that a field may take; the triggers look here."""

    __tablename__ = "field_valid_values"

    field_name: Mapped[str] = mapped_column(primary_key=True)
    valid_value: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str | None]


def definition_hash(parent_id: int | None, constraints: Iterable[Constraint]) -> str:
    """Identity of a stratum: sha256 of its parent's id and its sorted constraints ``variable|operation|value``.

    Without constraints it is the sha256 of the parent's id alone. The same constraints under two parents are two strata.
    """
    parent = "" if parent_id is None else str(parent_id)
    lines = sorted(f"{c.variable}|{c.operation}|{c.value}" for c in constraints)
    return hashlib.sha256("\n".join([parent, *lines]).encode()).hexdigest()


def connect(path: Path) -> Engine:
    """An engine on a database file, with foreign keys enforced."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _foreign_keys(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def create(path: Path) -> Engine:
    """Make an empty database with its tables, valid values, views and triggers, and open it."""
    engine = connect(path)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(_valid_values())
        session.commit()
    with engine.begin() as connection:
        for statement in (*VIEWS.values(), *triggers()):
            connection.exec_driver_sql(statement)
    return engine


def _valid_values() -> list[FieldValidValue]:
    about_variable = {name: f"{v.unit} of {v.entity}" for name, v in variables().items()}
    rows = [
        *(("operation", operation, None) for operation in OPERATIONS),
        ("active", "0", "left out of calibration"),
        ("active", "1", "calibrated to"),
        *(("period", str(period), None) for period in PERIODS),
        *(("variable", name, about) for name, about in about_variable.items() if variables()[name].unit in SUMMED),
        *(("constraint_variable", name, about) for name, about in about_variable.items()),
        ("constraint_variable", "ucgid_str", "Census Bureau geographic identifier"),
        *(("source", name, source.url) for name, source in sources().items()),
    ]
    return [FieldValidValue(field_name=field, valid_value=value, description=about) for field, value, about in rows]


def identity(rules: Iterable[Constraint], parent_id: int | None, parent_rules: Iterable[Constraint] | None) -> str:
    """The ``definition_hash`` of a stratum that is free of contradiction and nests in its parent; any other is refused.

    Parameters
    ----------
    rules : iterable of Constraint
        All constraints of the stratum.
    parent_id : int or None
    parent_rules : iterable of Constraint or None
        All constraints of its parent; None for the nation, which has no parent.

    Raises
    ------
    ConfigError
        That names the constraints which are amiss.
    """
    held = tuple(rules)
    check_consistent(held)
    check_nested(held, parent_rules)
    return definition_hash(parent_id, held)


@event.listens_for(Session, "before_flush")
def _hold_rules(session: Session, *_: Any) -> None:
    """Check and hash every stratum that is about to be written, or whose constraints are.

    A target is added after its stratum: the triggers look at the stratum's constraints when the target comes, and a
    session that writes both at once does not say in which order.
    """
    for item in session.new:
        if isinstance(item, Target) and item.stratum in session.new:
            raise ConfigError(f"a target ({item.variable}) is added with its stratum", "flush the stratum first")
    touched = (*session.new, *session.dirty, *session.deleted)
    strata = {id(s): s for s in (item.stratum if isinstance(item, StratumConstraint) else item for item in touched)}
    for stratum in strata.values():
        if isinstance(stratum, Stratum) and stratum not in session.deleted:
            _hold(session, stratum)


def _hold(session: Session, stratum: Stratum) -> None:
    if stratum.parent is None and stratum.parent_stratum_id is not None:
        stratum.parent = session.get(Stratum, stratum.parent_stratum_id)
        if stratum.parent is None:
            raise ConfigError(f"a stratum has the parent {stratum.parent_stratum_id}, which does not exist")
    if stratum.parent is None:
        stratum.definition_hash = identity(stratum.rules(), None, None)
        return
    if stratum.parent.stratum_id is None:
        raise ConfigError("a new stratum has a parent without an id", "flush the parent first")
    stratum.definition_hash = identity(stratum.rules(), stratum.parent.stratum_id, stratum.parent.rules())
