"""``geocal package``: check, show, trace, import and export. Reads arguments, calls one function of the matrix, and prints."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.settings import PackageSettings

if TYPE_CHECKING:
    from geocal_core.matrix.package import Package
    from geocal_core.matrix.tracer import Trace
    from geocal_core.targets.layout import Column

_YEAR = PackageSettings().year
_COLUMNS, _HARDEST = 20, 10


def add_parser(commands: Any) -> None:
    """Add ``package`` and its actions to the parsers of the command line."""
    package = commands.add_parser("package", help="the calibration package: check, show, trace, import, export")
    actions = package.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_check, _add_show, _add_trace, _add_import, _add_export):
        add(actions)


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _add_check(actions: Any) -> None:
    about = "tell whether a package is sound and its targets can be reached; exits with 0 (sound), 1 (--strict) or 2 (damaged)"
    check = _action(actions, "check", _check, about)
    _add_package(check)
    strict = "exit with status 1 if a target is out of reach of weights of at most RATIO times their start (told in the report)"
    check.add_argument("--strict", nargs="?", type=_ratio, const=0.0, metavar="RATIO", help=strict)
    check.add_argument(
        "--hardest",
        type=_whole,
        default=_HARDEST,
        metavar="N",
        help=f"rows to list of those out of reach and of the hardest ({_HARDEST})",
    )
    _add_form(check, ("text", "json"))


def _add_show(actions: Any) -> None:
    show = _action(actions, "show", _show, "tell what a package holds: parts, groups, variants, targets, provenance")
    _add_package(show)
    _add_form(show, ("text", "json"))


def _add_trace(actions: Any) -> None:
    trace = _action(actions, "trace", _trace, "tell what a row is made of, or what a column or a household adds to")
    _add_package(trace)
    which = trace.add_mutually_exclusive_group(required=True)
    which.add_argument("--row", metavar="NAME|N", help="name of a row, CA-12/snap/[snap>0], or its number")
    which.add_argument("--column", type=_whole, metavar="N", help="number of a column: clone * households + position")
    which.add_argument("--household", type=_whole, metavar="ID", help="identifier of a household in the stratified file")
    trace.add_argument("--clone", type=_whole, metavar="N", help="with --household: one of its copies")
    trace.add_argument("--weights", type=Path, metavar="FILE", help="weights of a fit (.npy); else those at which it starts")
    trace.add_argument("--limit", type=_whole, default=_COLUMNS, metavar="N", help=f"lines at most, 0 for all ({_COLUMNS})")
    _add_form(trace, ("text", "csv", "json"))


def _add_import(actions: Any) -> None:
    about = "make a package of the reference's calibration_package.pkl, of which nothing is run"
    reading = _action(actions, "import", _import, about)
    reading.add_argument("file", type=Path, metavar="FILE")
    reading.add_argument("folder", type=Path, metavar="FOLDER", help="package to write")
    reading.add_argument("--year", type=int, default=_YEAR, help=f"year of its targets and values ({_YEAR})")


def _add_export(actions: Any) -> None:
    writing = _action(
        actions, "export", _export, "write the explicit matrix and its targets as plain files, or as the reference's dict"
    )
    _add_package(writing)
    writing.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write; with --reference, a file")
    writing.add_argument("--reference", action="store_true", help="write the one file that the reference loads")
    writing.add_argument("--geography", type=Path, metavar="FILE", help="geography_assignment.npz, for the census blocks")


def _add_package(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="folder of a calibration package")


def _add_form(parser: argparse.ArgumentParser, forms: Sequence[str]) -> None:
    parser.add_argument("--format", dest="form", choices=forms, default=forms[0])


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not ratio > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return ratio


def _opened(folder: Path, verify: bool = False) -> Package:
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a calibration package", "give the folder that holds manifest.json")
    from geocal_core.matrix.package import Package

    return Package.open(folder, verify=verify)


def _check(arguments: argparse.Namespace) -> int:
    package = _opened(arguments.package, verify=True)
    from geocal_core.matrix.achievable import RATIO, achievability, counts, hardest
    from geocal_core.matrix.soundness import faults

    if wrong := faults(package):
        raise ArtifactError(f"{arguments.package} is damaged", "materialise calibration_package again", wrong)
    ratio = arguments.strict or RATIO
    table = achievability(package, ratio)
    report = {
        "parts": len(package.sizes),
        "digest": package.digest,
        "ratio": ratio,
        "levels": counts(table).to_dict("records"),
        "unreachable": table[table["verdict"].isin(("unsupported", "outside"))].to_dict("records"),
        "hardest": hardest(table, arguments.hardest).to_dict("records"),
    }
    print(_as_json(_without_gaps(report)) if arguments.form == "json" else _check_in_text(report, arguments.hardest))
    return 1 if arguments.strict is not None and report["unreachable"] else 0


def _without_gaps(value: Any) -> Any:
    """The same with None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _without_gaps(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_gaps(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_in_text(report: Mapping[str, Any], most: int) -> str:
    from geocal_core.targets.layout import Column, laid_out, short

    levels = [
        Column("geo_level", "level"),
        *(Column(name, name, "{:,}".format, right=True) for name in ("targets", "inside", "edge", "outside", "unsupported")),
    ]
    rows = [
        Column("verdict", "verdict"),
        Column("columns", "columns", "{:,}".format, right=True),
        Column("target", "target", short, right=True),
        Column("low", "least", short, right=True),
        Column("high", "most", _most, right=True),
        Column("start", "at start", short, right=True),
        Column("needed", "needs", _factor, right=True),
        Column("name", "row", below=True),
    ]
    lines = [
        f"sound: {report['parts']} parts, {report['digest'][:16]}",
        "",
        f"totals that weights of 0 to {report['ratio']:g} times their start can reach",
        laid_out(report["levels"], levels, "table"),
    ]
    for title, found in (("out of reach", report["unreachable"]), ("hardest", report["hardest"])):
        if found and most:
            lines += ["", f"{title} ({len(found):,})", laid_out(found, rows, "table", most)]
    return "\n".join(lines)


def _most(value: float) -> str:
    from geocal_core.targets.layout import short

    return short(value) if math.isfinite(value) else "no bound"


def _factor(value: float) -> str:
    return f"x {value:,.4g}" if math.isfinite(value) else "never"


def _show(arguments: argparse.Namespace) -> int:
    from geocal_core.matrix.contents import contents

    held = contents(_opened(arguments.package))
    print(_as_json(held) if arguments.form == "json" else _contents_in_text(held))
    return 0


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def _contents_in_text(held: Mapping[str, Any]) -> str:
    from geocal_core.targets.layout import Column, figure, laid_out

    sizes, matrix = held["dimensions"], held["matrix"]
    stored, explicit, imputed = matrix["values_stored"], matrix["explicit_nonzeros"], sizes["n_imputed_records"]
    lines = [
        f"{held['folder']}  {held['digest'][:16]}",
        f"{sizes['n_targets']:,} targets of {sizes['n_quantities']:,} quantities, {sizes['n_columns']:,} columns: "
        f"{sizes['n_records']:,} households x {sizes['n_clones']:,} clones in {sizes['n_districts']:,} districts, "
        f"{sizes['n_counties']:,} counties, {sizes['n_states']:,} states",
        f"{'an unknown number' if imputed is None else f'{imputed:,}'} of the households with an imputed tax return",
        f"{stored:,} values stored, {matrix['atoms']:,} atoms, {explicit:,} non-zeros of the explicit matrix",
        f"{_bytes(held['parts']['total'])} on disk, {_bytes(matrix['factored_bytes'])} in memory, "
        f"{_bytes(matrix['explicit_bytes'])} as explicit matrix",
    ]
    parts = [{"part": part, "bytes": size} for part, size in sorted(held["parts"].items(), key=lambda item: -item[1])]
    groups = [
        Column("group", "group", right=True),
        Column("quantities", "quantities", figure, right=True),
        Column("variants_per_household", "variants", lambda mean: f"{mean:.2f}", right=True),
        Column("most_variants", "most", figure, right=True),
        Column("variables", "computed from", ", ".join, shrinks=True),
        Column("without", "without"),
    ]
    families = [
        Column("variable", "variable"),
        Column("domain", "domain", shrinks=True),
        *(Column(level, level, figure, right=True) for level in ("national", "state", "district")),
    ]
    tables = {
        "parts on disk": laid_out(parts, [Column("part", "part"), Column("bytes", "bytes", figure, right=True)], "table", 0),
        "groups": laid_out(held["groups"], groups, "table", 0),
        "targets": laid_out(held["targets"]["by_family"], families, "table", 0),
        "provenance": "\n".join(f"{name:22} {value}" for name, value in _flat(held["provenance"])),
    }
    counts = held["targets"]
    tables["targets"] += (
        f"\n{', '.join(f'{count:,} {level}' for level, count in counts['by_level'].items())}; "
        f"{counts['held_out']:,} held out, {counts['without_support']:,} without support"
    )
    return "\n".join(lines) + "".join(f"\n\n{title}\n{text}" for title, text in tables.items())


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Facts within facts, by the names that lead to them."""
    found: list[tuple[str, Any]] = []
    for name, value in facts.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else [(f"{before}{name}", value)]
    return found


def _trace(arguments: argparse.Namespace) -> int:
    if arguments.clone is not None and arguments.household is None:
        raise ConfigError("--clone is of a household", "give --household ID as well")
    package = _opened(arguments.package)
    from geocal_core.matrix.tracer import row_named, trace_column, trace_household, trace_row, weights_of

    weights = weights_of(package, arguments.weights)
    if arguments.row is not None:
        trace = trace_row(package, weights, row_named(package, arguments.row), arguments.limit)
    elif arguments.column is not None:
        trace = trace_column(package, weights, arguments.column)
    else:
        trace = trace_household(package, weights, arguments.household, arguments.clone)
    print(_trace_told(trace, arguments.form, arguments.limit, "row" if arguments.row is not None else "column"))
    return 0


def _trace_told(trace: Trace, form: str, limit: int, of: str) -> str:
    from geocal_core.targets.layout import laid_out

    if form == "json":
        titles = ("places", "columns") if of == "row" else ("places", "rows")
        listed = {title: list(part) for title, part in zip(titles, (trace.places, trace.parts), strict=True) if part}
        return _as_json({**trace.facts, **listed})
    if form == "csv":
        return laid_out(trace.parts, (), "csv", limit)
    facts = "\n".join(
        f"{name.replace('_', ' '):20} {_fact(value)}" for name, value in trace.facts.items() if value not in (None, "")
    )
    tables = [
        laid_out(rows, columns, "table", limit)
        for rows, columns in ((trace.places, _place_columns()), (trace.parts, _part_columns(of)))
        if rows
    ]
    return "\n\n".join([facts, *tables])


def _fact(value: Any) -> str:
    from geocal_core.targets.layout import figure

    if isinstance(value, bool):
        return "yes" if value else "no"
    return figure(value) if isinstance(value, float) else str(value)


def _place_columns() -> list[Column]:
    from geocal_core.targets.layout import Column, figure

    return [
        Column("column", "column", right=True),
        Column("household_id", "household", right=True),
        Column("clone", "clone", right=True),
        Column("county_name", "county", shrinks=True),
        Column("district", "district"),
        Column("weight", "weight", figure, right=True),
    ]


def _part_columns(of: str) -> list[Column]:
    from geocal_core.targets.layout import Column, figure

    if of == "row":
        added = [Column("value", "value", figure, right=True), Column("contribution", "adds", figure, right=True)]
        return [*_place_columns(), *added, Column("share", "share", _percent, right=True)]
    return [
        Column("row", "row", right=True),
        Column("columns", "copies", right=True),
        Column("smallest_value", "least", figure, right=True),
        Column("largest_value", "most", figure, right=True),
        Column("contribution", "adds", figure, right=True),
        Column("target", "target", figure, right=True),
        Column("share_of_target", "share", _percent, right=True),
        Column("measures", "measures", below=True),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.4%}"


def _import(arguments: argparse.Namespace) -> int:
    from geocal_core.matrix.reference_package import import_reference
    from geocal_core.store import atomic

    if arguments.folder.exists():
        raise ConfigError(f"{arguments.folder} is there already", "give the name of a new folder")
    with atomic(arguments.folder) as temporary:
        import_reference(arguments.file, temporary, arguments.year)
    package = _opened(arguments.folder)
    print(f"{len(package.targets):,} targets of {len(package.quantities):,} quantities, {package.n_columns:,} columns")
    print(f"written to {arguments.folder}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    if arguments.output.exists():
        raise ConfigError(f"{arguments.output} is there already", "give the name of a new file or folder")
    package = _opened(arguments.package)
    from geocal_core.matrix.reference_package import blocks_of, reference_content, write_plain
    from geocal_core.matrix.reference_pickle import write_pickle
    from geocal_core.store import atomic

    blocks = None if arguments.geography is None else blocks_of(arguments.geography, package)
    content = reference_content(package, blocks)
    with atomic(arguments.output) as temporary:
        if arguments.reference:
            write_pickle(temporary, content)
        else:
            write_plain(temporary, content)
    if blocks is None:
        print("without census blocks (block_geoid is None): a package does not hold them; give --geography for them")
    if arguments.reference:
        print("warning: whoever loads this file runs what it asks for; geocal reads it with geocal package import")
    print(f"written to {arguments.output}")
    return 0
