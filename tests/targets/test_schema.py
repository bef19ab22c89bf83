"""The database by itself: hashes, valid values, rules on both paths into it, views against a plain computation."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from geocal_core.errors import ConfigError
from geocal_core.targets.constraints import OPERATIONS, Constraint, check_consistent
from geocal_core.targets.reading import SCHEMA
from geocal_core.targets.schema import PERIODS, Base, Stratum, StratumConstraint, Target, connect, create, definition_hash
from geocal_core.targets.vocabulary import SUMMED, sources, variables


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create(tmp_path / "policy_data.db")
    yield engine
    engine.dispose()


def _stratum(stratum_id: int, parent: Stratum | None, *rules: str) -> Stratum:
    constraints = []
    for rule in rules:
        variable, operation, value = rule.split(" ")
        constraints.append(StratumConstraint(constraint_variable=variable, operation=operation, value=value))
    return Stratum(stratum_id=stratum_id, parent=parent, constraints=constraints)


def _places(session: Session) -> tuple[Stratum, Stratum, Stratum]:
    nation = _stratum(1, None)
    state = _stratum(2, nation, "state_fips == 6")
    district = _stratum(3, state, "congressional_district_geoid == 601")
    session.add_all([nation, state, district])
    return nation, state, district


def test_who_reads_a_database_looks_for_all_its_tables(engine: Engine) -> None:
    assert set(SCHEMA) == {*Base.metadata.tables, "target_overview"}


def test_hash_is_as_specified() -> None:
    assert definition_hash(None, ()) == hashlib.sha256(b"").hexdigest()
    assert definition_hash(7, ()) == hashlib.sha256(b"7").hexdigest()
    rules = (Constraint("age", ">", "-1"), Constraint("age", "<", "5"))
    expected = hashlib.sha256(b"12\nage|<|5\nage|>|-1").hexdigest()
    assert definition_hash(12, rules) == definition_hash(12, rules[::-1]) == expected


def test_session_fills_in_the_hash(engine: Engine) -> None:
    with Session(engine) as session:
        _, state, _ = _places(session)
        session.add(_stratum(4, state, "state_fips == 6", "snap > 0"))
        session.commit()
        hashes = {stratum.stratum_id: stratum.definition_hash for stratum in session.scalars(select(Stratum))}
    assert hashes[1] == hashlib.sha256(b"").hexdigest()
    assert hashes[4] == hashlib.sha256(b"2\nsnap|>|0\nstate_fips|==|6").hexdigest()


def test_a_changed_constraint_changes_the_hash(engine: Engine) -> None:
    with Session(engine) as session:
        nation, *_ = _places(session)
        session.add(_stratum(4, nation, "snap > 0"))
        session.commit()
    with Session(engine) as session:
        constraint = session.scalars(select(StratumConstraint).where(StratumConstraint.stratum_id == 4)).one()
        constraint.value = "1"
        session.commit()
        assert session.get_one(Stratum, 4).definition_hash == hashlib.sha256(b"1\nsnap|>|1").hexdigest()


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (("age == 5", "age < 9"), "stand alone"),
        (("age > 5", "age >= 6"), "at most one lower"),
        (("age > 5", "age < 5"), "nothing satisfies"),
        (("state_fips == 6",), "adds nothing"),
        (("snap > 0",), "lacks"),
        (("state_fips == 6", "congressional_district_geoid == 801"), "does not lie in"),
        (("state_fips == 06", "snap > 0"), "does not name a place"),
        (("state_fips == 6", "snap => 0"), "unknown operation"),
    ],
)
def test_session_refuses_bad_strata(engine: Engine, rules: tuple[str, ...], word: str) -> None:
    with Session(engine) as session:
        _, state, _ = _places(session)
        session.flush()
        session.add(_stratum(4, state, *rules))
        with pytest.raises(ConfigError, match=word):
            session.commit()


def test_session_refuses_a_parent_that_is_not_there(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Stratum(stratum_id=9, parent_stratum_id=8, constraints=[]))
        with pytest.raises(ConfigError, match="parent 8"):
            session.commit()
    with Session(engine) as session:
        nation = Stratum()
        session.add(
            Stratum(parent=nation, constraints=[StratumConstraint(constraint_variable="snap", operation=">", value="0")])
        )
        with pytest.raises(ConfigError, match="flush the parent first"):
            session.commit()


def test_session_wants_the_stratum_before_its_targets(engine: Engine) -> None:
    with Session(engine) as session:
        nation, *_ = _places(session)
        session.flush()
        stratum = _stratum(4, nation, "snap > 0")
        session.add(Target(variable="snap", period=2024, stratum=stratum, value=1.0))
        with pytest.raises(ConfigError, match="flush the stratum first"):
            session.commit()


def test_the_same_stratum_twice_is_refused(engine: Engine) -> None:
    with Session(engine) as session:
        _, state, _ = _places(session)
        session.add_all([_stratum(4, state, "state_fips == 6", "snap > 0"), _stratum(5, state, "state_fips == 6", "snap > 0")])
        with pytest.raises(IntegrityError, match="definition_hash"):
            session.commit()


def test_foreign_keys_are_on(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Target(variable="snap", period=2024, stratum_id=99, value=1.0))
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            session.commit()


def _abort(connection: sqlite3.Connection, statement: str, message: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=message):
        connection.execute(statement)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("variable", "'snapp'", "variable"),
        ("variable", "'is_female'", "variable"),
        ("period", str(PERIODS.start - 1), "period"),
        ("period", str(PERIODS.stop), "period"),
        ("active", "2", "active"),
        ("source", "'hearsay'", "source"),
    ],
)
def test_targets_take_valid_values_only(small_db: Path, tmp_path: Path, column: str, value: str, field: str) -> None:
    path = shutil.copy(small_db, tmp_path / "copy.db")
    row = {"variable": "'snap'", "period": "2030", "stratum_id": "1", "active": "1", "source": "NULL", "value": "1"}
    with closing(sqlite3.connect(path)) as connection:
        insert = "INSERT INTO targets ({}) VALUES ({})"
        connection.execute(insert.format(", ".join(row), ", ".join(row.values())))
        row |= {"period": "2031", column: value}
        _abort(connection, insert.format(", ".join(row), ", ".join(row.values())), f"not a valid {field}")
        _abort(connection, f"UPDATE targets SET {column} = {value} WHERE target_id = 1", f"not a valid {field}")


def test_every_period_source_and_variable_is_valid(small_db: Path) -> None:
    with closing(sqlite3.connect(small_db)) as connection:
        rows = connection.execute("SELECT field_name, valid_value FROM field_valid_values").fetchall()
    valid: dict[str, set[str]] = defaultdict(set)
    for field, value in rows:
        valid[field].add(value)
    assert valid["period"] == {str(year) for year in range(2015, 2036)}
    assert valid["source"] == set(sources())
    assert valid["operation"] == set(OPERATIONS)
    assert valid["constraint_variable"] == {*variables(), "ucgid_str"}
    assert valid["variable"] == {name for name, variable in variables().items() if variable.unit in SUMMED}
    assert valid["active"] == {"0", "1"}


rules = st.builds(
    Constraint,
    st.sampled_from(("age", "snap")),
    st.sampled_from(OPERATIONS),
    st.sampled_from(("0", "1", "2", "10", "-3", "2.5")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(constraints=st.lists(rules, min_size=1, max_size=4, unique_by=lambda c: (c.variable, c.operation)))
def test_triggers_agree_with_python_on_contradictions(small_db: Path, constraints: list[Constraint]) -> None:
    """Whatever the order of insertion: SQL takes a set of constraints if and only if Python does."""
    try:
        check_consistent(constraints)
        consistent = True
    except ConfigError:
        consistent = False
    with closing(sqlite3.connect(small_db)) as connection:
        connection.execute("INSERT INTO strata (stratum_id, definition_hash, parent_stratum_id) VALUES (9999, 'x', 1)")
        try:
            for c in constraints:
                connection.execute(
                    "INSERT INTO stratum_constraints VALUES (9999, ?, ?, ?, NULL)",
                    (c.variable, c.operation, c.value),
                )
            taken = True
        except sqlite3.IntegrityError:
            taken = False
        connection.rollback()
    assert taken == consistent


@pytest.mark.parametrize(
    ("variable", "operation", "value", "message"),
    [
        ("age", "=", "5", "not a valid operation"),
        ("weather", "==", "5", "not a valid constraint_variable"),
        ("state_fips", "==", "06", "without leading zeros"),
        ("state_fips", ">", "6", "without leading zeros"),
        ("congressional_district_geoid", "!=", "601", "without leading zeros"),
        ("age", "<", "young", "compare with a number"),
        ("age", "<", "..", "compare with a number"),
    ],
)
def test_triggers_refuse_constraints(small_db: Path, variable: str, operation: str, value: str, message: str) -> None:
    with closing(sqlite3.connect(small_db)) as connection:
        connection.execute("INSERT INTO strata (stratum_id, definition_hash, parent_stratum_id) VALUES (9999, 'x', 1)")
        with pytest.raises(sqlite3.IntegrityError, match=message):
            connection.execute(
                "INSERT INTO stratum_constraints (stratum_id, constraint_variable, operation, value) VALUES (9999, ?, ?, ?)",
                (variable, operation, value),
            )


@pytest.mark.parametrize(
    ("parent", "constraint", "message"),
    [
        ("2", "snap > 0", "lacks a constraint of its parent"),
        ("2", None, "lacks a constraint of its parent|adds nothing"),
        ("1", None, "adds nothing"),
        ("NULL", "snap > 0", "only the nation"),
    ],
)
def test_a_target_needs_a_stratum_that_nests(small_db: Path, parent: str, constraint: str | None, message: str) -> None:
    """Stratum 1 is the nation, stratum 2 a state."""
    with closing(sqlite3.connect(small_db)) as connection:
        connection.execute(f"INSERT INTO strata (stratum_id, definition_hash, parent_stratum_id) VALUES (9999, 'x', {parent})")
        if constraint:
            connection.execute("INSERT INTO stratum_constraints VALUES (9999, ?, ?, ?, NULL)", constraint.split(" "))
        _abort(connection, "INSERT INTO targets (variable, period, stratum_id) VALUES ('snap', 2024, 9999)", message)


def test_a_stratum_with_targets_is_closed(small_db: Path) -> None:
    with closing(sqlite3.connect(small_db)) as connection:
        [(stratum, parent)] = connection.execute(
            "SELECT stratum_id, parent_stratum_id FROM strata JOIN targets USING (stratum_id) WHERE variable = 'snap' LIMIT 1"
        )
        for of in (stratum, parent):
            _abort(connection, f"INSERT INTO stratum_constraints VALUES ({of}, 'eitc', '>', '0', NULL)", "cannot change")
            _abort(connection, f"UPDATE strata SET parent_stratum_id = 1 WHERE stratum_id = {of}", "cannot change")
        _abort(connection, f"UPDATE stratum_constraints SET value = '1' WHERE stratum_id = {stratum}", "cannot change")
        _abort(connection, f"DELETE FROM stratum_constraints WHERE stratum_id = {stratum}", "cannot change")
        connection.execute(f"DELETE FROM targets WHERE stratum_id = {stratum}")
        connection.execute(f"DELETE FROM stratum_constraints WHERE stratum_id = {stratum}")


def test_a_stratum_goes_after_its_targets(small_db: Path, tmp_path: Path) -> None:
    engine = connect(Path(shutil.copy(small_db, tmp_path / "copy.db")))
    with Session(engine) as session:
        target = session.scalars(select(Target).where(Target.variable == "eitc")).first()
        assert target is not None
        gone = target.stratum_id
        session.delete(target.stratum)
        with pytest.raises(IntegrityError, match="cannot change"):
            session.flush()
        session.rollback()
        stratum = session.get_one(Stratum, gone)
        for of in list(stratum.targets):
            session.delete(of)
        session.flush()
        session.delete(stratum)
        session.commit()
        assert session.get(Stratum, gone) is None
        assert not session.scalars(select(StratumConstraint).where(StratumConstraint.stratum_id == gone)).all()
    engine.dispose()


def test_views_agree_with_a_plain_computation(small_db: Path) -> None:
    with closing(sqlite3.connect(small_db)) as connection:
        constraints: dict[int, list[tuple[str, str]]] = {}
        for stratum, variable, value in connection.execute(
            "SELECT stratum_id, constraint_variable, value FROM stratum_constraints"
        ):
            constraints.setdefault(stratum, []).append((variable, value))
        overview = connection.execute(
            "SELECT stratum_id, geo_level, geographic_id, domain_variable FROM target_overview"
        ).fetchall()
        [(targets,)] = connection.execute("SELECT COUNT(*) FROM targets")
    assert len(overview) == targets
    for stratum, level, place, domain in overview:
        of_stratum = dict(constraints.get(stratum, []))
        district, state = of_stratum.pop("congressional_district_geoid", None), of_stratum.pop("state_fips", None)
        of_stratum.pop("tax_unit_is_filer", None)
        assert level == ("district" if district else "state" if state else "national")
        assert place == (district or state or "US")
        assert domain == (",".join(sorted(of_stratum)) or None)


def test_view_reads_the_bureaus_identifiers(engine: Engine) -> None:
    with Session(engine) as session:
        nation, *_ = _places(session)
        session.flush()
        for index, ucgid in enumerate(("0400000US06", "5001900US0601"), start=4):
            session.add(_stratum(index, nation, f"ucgid_str == {ucgid}"))
            session.flush()
            session.add(Target(variable="person_count", period=2024, stratum_id=index, value=1.0))
        session.commit()
        found = (
            session.connection().exec_driver_sql("SELECT geo_level, geographic_id, domain_variable FROM target_overview").all()
        )
    assert [tuple(row) for row in found] == [("state", "0400000US06", None), ("district", "5001900US0601", None)]


def test_hierarchy(small_db: Path) -> None:
    """Every geographic stratum is there once, and everything else hangs below the stratum of its own place."""
    with closing(sqlite3.connect(small_db)) as connection:
        parents = dict(connection.execute("SELECT stratum_id, parent_stratum_id FROM strata").fetchall())
        rows = connection.execute(
            "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints"
        ).fetchall()
        hashes = dict(connection.execute("SELECT stratum_id, definition_hash FROM strata").fetchall())
    held: dict[int, set[Constraint]] = {stratum: set() for stratum in parents}
    for stratum, variable, operation, value in rows:
        held[stratum].add(Constraint(variable, operation, value))
    places = {s: rules for s, rules in held.items() if all(c.variable.startswith(("state", "congressional")) for c in rules)}
    assert sorted("".join(c.value for c in rules) for rules in places.values()) == sorted(
        ["", "10", "11", "16", "1001", "1101", "1601", "1602"]
    )
    for stratum, parent in parents.items():
        assert hashes[stratum] == definition_hash(parent, held[stratum])
        if stratum not in places:
            assert held[parent] < held[stratum]
            assert {c for c in held[parent] if c.operation == "==" and len(c.value) in (2, 4)} == {
                c for c in held[stratum] if c.operation == "==" and len(c.value) in (2, 4)
            }
