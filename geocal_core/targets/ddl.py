"""What the database says in SQL of its own: two views, and the triggers that hold its rules on every path into it.

The triggers repeat the rules of ``constraints.py`` as far as SQL can see them: one row at a time, and, when a target is
added, the stratum as a whole. Valid values are rows of ``field_valid_values``, never text of a trigger.
"""

from __future__ import annotations

from collections.abc import Iterator

from geocal_core.targets.constraints import DISTRICT, GEOGRAPHIC, STATE

_NO_DOMAIN = (*GEOGRAPHIC, "tax_unit_is_filer", "ucgid_str")
_NO_DOMAIN_SQL = ", ".join(f"'{name}'" for name in _NO_DOMAIN)

_STRATUM_DOMAIN = f"""
CREATE VIEW stratum_domain AS
SELECT DISTINCT stratum_id, constraint_variable AS domain_variable
FROM stratum_constraints WHERE constraint_variable NOT IN ({_NO_DOMAIN_SQL})
"""

# group_concat has no ORDER BY of its own before SQLite 3.44; a sorted subquery gives the alphabetical order.
_TARGET_OVERVIEW = f"""
CREATE VIEW target_overview AS
SELECT t.target_id, t.stratum_id, t.variable, t.reform_id, t.value, t.period, t.active,
  CASE
    WHEN g.district IS NOT NULL OR LENGTH(g.ucgid) = 13 THEN 'district'
    WHEN g.state IS NOT NULL OR LENGTH(g.ucgid) = 11 THEN 'state'
    ELSE 'national'
  END AS geo_level,
  COALESCE(g.district, g.state, g.ucgid, 'US') AS geographic_id,
  (SELECT GROUP_CONCAT(domain_variable, ',') FROM (
     SELECT domain_variable FROM stratum_domain d WHERE d.stratum_id = t.stratum_id ORDER BY domain_variable
  )) AS domain_variable
FROM targets t JOIN (
  SELECT s.stratum_id,
    MAX(CASE WHEN c.constraint_variable = '{DISTRICT}' THEN c.value END) AS district,
    MAX(CASE WHEN c.constraint_variable = '{STATE}' THEN c.value END) AS state,
    MAX(CASE WHEN c.constraint_variable = 'ucgid_str' THEN c.value END) AS ucgid
  FROM strata s LEFT JOIN stratum_constraints c ON c.stratum_id = s.stratum_id GROUP BY s.stratum_id
) g ON g.stratum_id = t.stratum_id
"""

VIEWS = {"stratum_domain": _STRATUM_DOMAIN, "target_overview": _TARGET_OVERVIEW}

_VALID = (
    ("stratum_constraints", "operation", "NEW.operation", ""),
    ("stratum_constraints", "constraint_variable", "NEW.constraint_variable", ""),
    ("targets", "active", "NEW.active", ""),
    ("targets", "period", "NEW.period", ""),
    ("targets", "variable", "NEW.variable", ""),
    ("targets", "source", "NEW.source", "NEW.source IS NOT NULL AND "),
)

# The other constraints that the stratum has on the same variable.
_OTHERS = """SELECT 1 FROM stratum_constraints c WHERE c.stratum_id = NEW.stratum_id
    AND c.constraint_variable = NEW.constraint_variable AND c.operation <> NEW.operation"""

_CLOSED = """EXISTS (SELECT 1 FROM targets t JOIN strata s ON s.stratum_id = t.stratum_id
    WHERE s.stratum_id = {row}.stratum_id OR s.parent_stratum_id = {row}.stratum_id)"""

_CONSTRAINT_RULES = {
    "geography": (
        f"""NEW.constraint_variable IN ('{STATE}', '{DISTRICT}')
    AND (NEW.operation <> '==' OR NEW.value <> CAST(CAST(NEW.value AS INTEGER) AS TEXT))""",
        "geography is ==, with a code without leading zeros",
    ),
    "number": (
        """SUBSTR(NEW.operation, 1, 1) IN ('<', '>')
    AND (NEW.value GLOB '*[^-+.0-9eE]*' OR NEW.value NOT GLOB '*[0-9]*')""",
        "the operations < <= > >= compare with a number",
    ),
    "alone": (
        f"EXISTS ({_OTHERS} AND (c.operation IN ('==', '!=') OR NEW.operation IN ('==', '!=')))",
        "== and != stand alone for a variable",
    ),
    "bounds": (
        f"EXISTS ({_OTHERS} AND SUBSTR(c.operation, 1, 1) = SUBSTR(NEW.operation, 1, 1))",
        "a variable has at most one lower and one upper bound",
    ),
    "empty": (
        f"""EXISTS ({_OTHERS} AND SUBSTR(NEW.operation, 1, 1) IN ('<', '>') AND SUBSTR(c.operation, 1, 1) IN ('<', '>')
    AND (CASE SUBSTR(NEW.operation, 1, 1) WHEN '>' THEN CAST(NEW.value AS NUMERIC) ELSE CAST(c.value AS NUMERIC) END
       > CASE SUBSTR(NEW.operation, 1, 1) WHEN '<' THEN CAST(NEW.value AS NUMERIC) ELSE CAST(c.value AS NUMERIC) END
      OR (CAST(NEW.value AS NUMERIC) = CAST(c.value AS NUMERIC)
        AND NOT (NEW.operation IN ('<=', '>=') AND c.operation IN ('<=', '>=')))))""",
        "nothing satisfies these bounds",
    ),
}

_LACKS_OF_PARENT = f"""EXISTS (
    SELECT 1 FROM strata s JOIN stratum_constraints p ON p.stratum_id = s.parent_stratum_id
    WHERE s.stratum_id = NEW.stratum_id AND NOT EXISTS (
      SELECT 1 FROM stratum_constraints c WHERE c.stratum_id = s.stratum_id AND (
        (c.constraint_variable = p.constraint_variable AND c.operation = p.operation AND c.value = p.value)
        OR (p.constraint_variable = '{STATE}' AND c.constraint_variable = '{DISTRICT}'
            AND CAST(c.value AS INTEGER) / 100 = CAST(p.value AS INTEGER)))))"""

_ADDS_NOTHING = """EXISTS (SELECT 1 FROM strata s WHERE s.stratum_id = NEW.stratum_id AND s.parent_stratum_id IS NOT NULL)
  AND NOT EXISTS (
    SELECT 1 FROM stratum_constraints c JOIN strata s ON s.stratum_id = c.stratum_id
    WHERE c.stratum_id = NEW.stratum_id AND NOT EXISTS (
      SELECT 1 FROM stratum_constraints p WHERE p.stratum_id = s.parent_stratum_id
        AND p.constraint_variable = c.constraint_variable AND p.operation = c.operation AND p.value = c.value))"""

_ROOTLESS = """EXISTS (SELECT 1 FROM strata s JOIN stratum_constraints c ON c.stratum_id = s.stratum_id
    WHERE s.stratum_id = NEW.stratum_id AND s.parent_stratum_id IS NULL)"""

_STRATUM_RULES = {
    "nests": (_LACKS_OF_PARENT, "the stratum lacks a constraint of its parent"),
    "adds": (_ADDS_NOTHING, "the stratum adds nothing to its parent"),
    "rooted": (_ROOTLESS, "only the nation, without constraints, has no parent"),
}


def triggers() -> Iterator[str]:
    """One CREATE TRIGGER statement after another, in a fixed order."""
    for table, field, column, unless in _VALID:
        condition = (
            f"{unless}NOT EXISTS (SELECT 1 FROM field_valid_values v "
            f"WHERE v.field_name = '{field}' AND v.valid_value = CAST({column} AS TEXT))"
        )
        yield from _on(table, f"valid_{field}", condition, f"not a valid {field} in {table}")
    for name, (condition, message) in _CONSTRAINT_RULES.items():
        yield from _on("stratum_constraints", name, condition, message)
    for name, (condition, message) in _STRATUM_RULES.items():
        yield from _on("targets", name, condition, message)
    closed = "a stratum that has targets, or whose child has, cannot change"
    yield _trigger("constraints_closed_insert", "INSERT", "stratum_constraints", _CLOSED.format(row="NEW"), closed)
    yield _trigger("constraints_closed_update", "UPDATE", "stratum_constraints", _CLOSED.format(row="OLD"), closed)
    yield _trigger("constraints_closed_delete", "DELETE", "stratum_constraints", _CLOSED.format(row="OLD"), closed)
    yield _trigger(
        "strata_closed_update",
        "UPDATE OF stratum_id, parent_stratum_id, definition_hash",
        "strata",
        _CLOSED.format(row="OLD"),
        closed,
    )


def _on(table: str, name: str, condition: str, message: str) -> Iterator[str]:
    for event in ("INSERT", "UPDATE"):
        yield _trigger(f"{table}_{name}_{event.lower()}", event, table, condition, message)


def _trigger(name: str, event: str, table: str, condition: str, message: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {condition}\n"
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )
