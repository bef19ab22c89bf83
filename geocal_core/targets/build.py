"""The target database built from raw files: every table read and checked, figures checked together, then written whole.

``build`` is the stage; ``build_database`` is the same for a folder of published files. Tables known to be missing are left
out by name; anything else that is missing, or does not fit, is an error.
"""

from __future__ import annotations

from math import fsum
from pathlib import Path

from geocal_core.errors import ConfigError, InputError
from geocal_core.progress import Reporter, Value
from geocal_core.settings import TargetSettings
from geocal_core.stages import StageContext
from geocal_core.store import atomic, digest_path
from geocal_core.targets.checks import check_complete, check_sums, counts_by_level
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles
from geocal_core.targets.registry import published_files, tables
from geocal_core.targets.select import load_targets
from geocal_core.targets.selection import deactivate, read_selection
from geocal_core.targets.vocabulary import sources
from geocal_core.targets.writer import Provenance, write_database


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``target_db``: from the agencies' raw files to the database."""
    return _build(RawFiles(*context.inputs.values()), context.output, context.settings, context.reporter)


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
        Is told the progress and the check ``targets_complete``.

    Returns
    -------
    dict
        Numbers of targets by level, and the main totals.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another year, or does not fit the scope or the others.
    ConfigError
        If a setting is unknown, or a figure cannot be uprated to the year.
    """
    files = RawFiles(raw)
    with atomic(output) as temporary:
        return _build(files, temporary, settings, reporter)


def _build(raw: RawFiles, output: Path, settings: TargetSettings, reporter: Reporter) -> dict[str, Value]:
    scope = Scope.of(settings.year, settings.states)
    wanted = _tables(settings.without)
    try:
        figures, provenance = _read(raw, scope, wanted, reporter)
        check_sums(figures)
    except InputError as error:
        reporter.check("targets_complete", False, {"error": str(error)})
        raise
    every = [figure for of_table in figures.values() for figure in of_table]
    write_database(output, every, scope, list(dict.fromkeys(provenance)))
    deactivate(output, read_selection(settings.selection), reporter.progress)
    targets, _ = load_targets(output, settings.year)
    facts: dict[str, Value] = {"targets": len(targets), **counts_by_level(every), **_totals(every)}
    reporter.check("targets_complete", True, facts)
    return facts


def _read(
    raw: RawFiles, scope: Scope, wanted: list[Table], reporter: Reporter
) -> tuple[dict[Table, list[Figure]], list[Provenance]]:
    """Figures of every table, and the files they were read from; what is wrong with any table is told at once for all."""
    figures: dict[Table, list[Figure]] = {}
    provenance: list[Provenance] = []
    amiss: dict[str, InputError] = {}
    for table in wanted:
        if table.whole_nation and not scope.whole:
            reporter.progress(f"{table.name}: left out, its figures are of the whole nation")
            continue
        try:
            found = table.read(raw, scope)
            check_complete(table, found, scope)
        except InputError as error:
            amiss[table.name] = error
            raw.take_used()
            reporter.progress(f"{table.name}: {error}")
            continue
        figures[table] = found
        provenance += _provenance(found, raw)
        reporter.progress(f"{table.name}: {len(found):,} figures")
    if amiss:
        raise _amiss(amiss)
    return figures, provenance


def _amiss(errors: dict[str, InputError]) -> InputError:
    """One error for all tables that cannot be built."""
    (name, first), *others = errors.items()
    if not others:
        return InputError(f"{name} cannot be built: {first}", f"to build without it: --without {name}")
    return InputError(
        f"{len(errors)} tables cannot be built: {', '.join(errors)}; the first because {first.what}",
        f"get their files, or build without them: --without {' '.join(errors)}",
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
    return [
        Provenance(
            source=name,
            agency=known[name].agency,
            file=path.name,
            url=_url(path.name) or known[name].url,
            digest=digest_path(path),
            vintage=vintage,
        )
        for name, vintage in sorted(vintages.items())
        for path in used
    ]


def _url(file: str) -> str:
    return next((f.url for files in published_files().values() for f in files if f.matches(file)), "")


def _totals(figures: list[Figure]) -> dict[str, Value]:
    """National totals by variable and source, of figures whose domains do not overlap: persons, and SNAP."""
    totals: dict[str, Value] = {}
    for name, variable, source in (
        ("persons", "person_count", "Census ACS S0101"),
        ("snap_households", "household_count", "USDA FNS SNAP"),
        ("snap_dollars", "snap", "USDA FNS SNAP"),
        ("agi_dollars", "adjusted_gross_income", "IRS SOI"),
        ("eitc_dollars", "eitc", "IRS SOI"),
    ):
        of_nation = [f.value for f in figures if f.place == NATION and (f.variable, f.source) == (variable, source)]
        values = [value for value in of_nation if value is not None]
        if values:
            totals[name] = fsum(values)
    return totals
