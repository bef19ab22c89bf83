"""The target database built from raw files: every table read and checked, figures checked together, then written whole.

``build_from`` is what the stage does; ``build_database`` is the same for a folder of published files. Tables known to be
missing are left out by name; anything else that is missing, or does not fit, is an error.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import fsum
from pathlib import Path

import pandas as pd

from geocal_core.errors import ArtifactError, ConfigError, GeocalError, InputError
from geocal_core.progress import Reporter, Value
from geocal_core.published import retrieved
from geocal_core.settings import TargetSettings
from geocal_core.store import atomic, digest_path
from geocal_core.targets.checks import check_complete, check_counts, check_known_totals, check_sums
from geocal_core.targets.consistency import find_contradictions
from geocal_core.targets.figures import LEVELS, NATION, Figure, PlaceGrowth, Scope, Table
from geocal_core.targets.files import RawFiles
from geocal_core.targets.inventory import stored_targets
from geocal_core.targets.partitions import settle
from geocal_core.targets.reconcile import largest_gap
from geocal_core.targets.registry import published_files, tables
from geocal_core.targets.select import uprated_targets
from geocal_core.targets.selection import deactivate, read_selection
from geocal_core.targets.vocabulary import sources
from geocal_core.targets.writer import Provenance, write_database

_LARGEST_GAP = 1e-6
"""Relative difference between a whole and its parts that reconciliation may leave."""


def build_database(raw: Path, output: Path, settings: TargetSettings, reporter: Reporter) -> dict[str, Value]:
    """Build a target database from the published files anywhere below a folder.

    Parameters
    ----------
    raw : Path
        Folder with the agencies' files under their published names, in any sub-folders.
    output : Path
        The database to write; it is replaced only when the new one is complete.
    settings : TargetSettings
        Year, states in scope, and names of tables to leave out.
    reporter : Reporter
        Is told the progress and the checks ``targets_complete``, ``targets_known_totals``, ``targets_counts`` and
        ``targets_hierarchy``.

    Returns
    -------
    dict
        Numbers of active targets by level and of all by source, of withheld figures, alternatives, reconciled targets and
        contradictions by kind; the main totals; and the seconds that it took.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another year, or does not fit the scope or the others.
    ConfigError
        If a setting is unknown, or a figure cannot be uprated to the year.
    """
    files = RawFiles(raw)
    with atomic(output) as temporary:
        return build_from(files, temporary, settings, reporter)


def build_from(raw: RawFiles, output: Path, settings: TargetSettings, reporter: Reporter) -> dict[str, Value]:
    """The same from folders that are already opened, straight to ``output``: what the stage does."""
    started = time.perf_counter()
    scope = Scope.of(settings.year, settings.states)
    wanted = _tables(settings.without)
    selection = read_selection(settings.selection)
    with _reported("targets_complete", reporter) as facts:
        figures, provenance, growth = _read(raw, scope, wanted, reporter)
        check_sums(figures)
        every = [figure for of_table in figures.values() for figure in of_table]
        facts.update({"figures": len(every), "withheld": sum(figure.value is None for figure in every), **_totals(every)})
    with _reported("targets_known_totals", reporter) as facts:
        met = check_known_totals(figures) if settings.known_totals else 0
        facts["met"] = met if settings.known_totals else "not asked: the files are not said to be the agencies' own"
    alternatives = write_database(output, every, scope, list(dict.fromkeys(provenance)), growth)
    left_out = deactivate(output, selection, reporter.progress)
    with _reported("targets_counts", reporter) as facts:
        stored, _ = stored_targets(output)
        by_level = {level: int((stored["geo_level"] == level).sum()) for level in LEVELS}
        check_counts(by_level, every, alternatives)
        facts.update({**by_level, **_by_family(stored)})
    with _reported("targets_hierarchy", reporter) as facts:
        facts.update(_hierarchy(output, settings.year))
    return {
        **{f"{level}_targets": number for level, number in by_level.items()},
        "active": int(stored["active"].sum()),
        "withheld": sum(figure.value is None for figure in every),
        "not_selected": left_out,
        "alternatives": alternatives,
        "known_totals_met": met,
        **facts,
        **_totals(every),
        **{f"of {source}": int(number) for source, number in stored["source"].value_counts(sort=False).items()},
        "seconds": round(time.perf_counter() - started, 1),
    }


@contextmanager
def _reported(check: str, reporter: Reporter) -> Iterator[dict[str, Value]]:
    """Report a check with the facts that are put in the dictionary: passed, or failed with the error, which goes on."""
    facts: dict[str, Value] = {}
    try:
        yield facts
    except GeocalError as error:
        reporter.check(check, False, {"error": str(error)})
        raise
    reporter.check(check, True, facts)


def _hierarchy(database: Path, year: int) -> dict[str, Value]:
    """How well the levels agree after reconciliation, and what contradictions there are; a gap that it left is an error."""
    uprated, rules, places = uprated_targets(database, year)
    targets = settle(uprated, rules, places)
    scaled = int((targets["hierarchy_follows"] != "").sum())
    gap = largest_gap(targets, places)
    if gap > _LARGEST_GAP:
        raise ArtifactError(f"after reconciliation a whole and its parts differ by {gap:.3g} of it")
    found = find_contradictions(database, year)
    kinds = Counter(f"contradictions_{c.kind}" for c in found)
    remaining = sum(not c.reconciled for c in found)
    return {
        "targets": len(targets),
        **{level: int((targets["geo_level"] == level).sum()) for level in LEVELS},
        "reconciled": scaled,
        "largest_gap": gap,
        **dict(sorted(kinds.items())),
        "contradictions_that_remain": remaining,
    }


def _by_family(stored: pd.DataFrame) -> dict[str, Value]:
    """Numbers of targets by level, variable and what their strata look at: ``district person_count by age``."""
    named = (
        stored["geo_level"]
        + " "
        + stored["variable"]
        + (" by " + stored["domain_variable"]).where(stored["domain_variable"] != "", "")
    )
    return {str(name): int(number) for name, number in named.value_counts().sort_index().items()}


def _read(
    raw: RawFiles, scope: Scope, wanted: list[Table], reporter: Reporter
) -> tuple[dict[Table, list[Figure]], list[Provenance], list[PlaceGrowth]]:
    """Figures of every table, the files they were read from, and growth by place; all that is amiss is told at once."""
    figures: dict[Table, list[Figure]] = {}
    provenance: list[Provenance] = []
    growth: list[PlaceGrowth] = []
    amiss: dict[str, InputError] = {}
    for table in wanted:
        if table.whole_nation and not scope.whole:
            reporter.progress(f"{table.name}: left out, its figures are of the whole nation")
            continue
        try:
            found = table.read(raw, scope)
            check_complete(table, found, scope)
            grown = table.growth(raw, scope) if table.growth else []
        except InputError as error:
            amiss[table.name] = error
            raw.take_used()
            reporter.progress(f"{table.name}: cannot be built")
            continue
        figures[table] = found
        provenance += _provenance(found, raw)
        growth += grown
        reporter.progress(f"{table.name}: {len(found):,} figures")
    if amiss:
        raise _amiss(amiss)
    return figures, provenance, growth


def _amiss(errors: dict[str, InputError]) -> InputError:
    """One error for all tables that cannot be built."""
    (name, first), *others = errors.items()
    if not others:
        return InputError(f"{name} cannot be built: {first}", f"to build without it: --without {name}")
    return InputError(
        f"{len(errors)} tables cannot be built",
        f"mend or get their files, or build without them: --without {' '.join(errors)}",
        [f"{table}: {error}" for table, error in errors.items()],
    )


def _tables(without: tuple[str, ...]) -> list[Table]:
    known = tables()
    for name in without:
        if name not in known:
            raise ConfigError(f"there is no table {name!r} to leave out", f"the tables are {', '.join(known)}")
    wanted = [table for table in known.values() if table.name not in without]
    if not wanted:
        raise ConfigError("every table is left out", f"keep at least one of {', '.join(known)}")
    return wanted


def _provenance(figures: list[Figure], raw: RawFiles) -> list[Provenance]:
    """Where the figures of one table come from: each of its sources with each of the files that were just read."""
    vintages: dict[str, int] = {}
    for figure in figures:
        vintages[figure.source] = max(figure.period, vintages.get(figure.source, 0))
    known = sources()
    used = raw.take_used()
    digests = {path: digest_path(path) for path in used}
    days = {path: _retrieved(path, digests[path]) for path in used}
    return [
        Provenance(
            source=name,
            agency=known[name].agency,
            file=path.name,
            url=_url(path.name) or known[name].url,
            digest=digests[path],
            vintage=vintage,
            retrieved=days[path],
        )
        for name, vintage in sorted(vintages.items())
        for path in used
    ]


def _retrieved(path: Path, digest: str) -> str | None:
    """The day on which this very content was fetched, if the record of downloads beside it says so."""
    record = retrieved(path.parent).get(path.name)
    return record["date"] if record is not None and record["sha256"] == digest else None


def _url(file: str) -> str:
    return next((f.url for files in published_files().values() for f in files if f.matches(file)), "")


def _totals(figures: list[Figure]) -> dict[str, Value]:
    """National totals by variable and source: persons, SNAP, income and earned income credit.

    Each is the sum over the domains that part it, or the figure of one domain.
    """
    totals: dict[str, Value] = {}
    for name, variable, source, looks_at in (
        ("persons", "person_count", "Census ACS S0101", {"age"}),
        ("snap_households", "household_count", "USDA FNS SNAP", {"snap"}),
        ("snap_dollars", "snap", "USDA FNS SNAP", {"snap"}),
        ("agi_dollars", "adjusted_gross_income", "IRS SOI", {"tax_unit_is_filer"}),
        ("eitc_dollars", "eitc", "IRS SOI", {"tax_unit_is_filer", "eitc", "eitc_child_count"}),
    ):
        values = [
            figure.value
            for figure in figures
            if (figure.place, figure.variable, figure.source) == (NATION, variable, source)
            and {constraint.variable for constraints in figure.domain for constraint in constraints} == looks_at
            and figure.value is not None
        ]
        if values:
            totals[name] = fsum(values)
    return totals
