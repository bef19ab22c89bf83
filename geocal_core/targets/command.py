"""``geocal targets``: build a target database, look into it, add to it, check it, and compare two.

Parsers and printing; what is printed is found out by the modules beside this one, which are loaded when they are needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geocal_core.errors import ConfigError
from geocal_core.progress import Terminal, Value
from geocal_core.settings import TargetSettings

if TYPE_CHECKING:
    from geocal_core.targets.layout import Column

_YEAR = TargetSettings().year
_LEVELS = ("national", "state", "district")
_KINDS = ("levels", "sources", "parts")
_FORMATS = ("table", "csv", "json")


def add_parser(commands: Any) -> None:
    """Add ``targets`` and its actions to the parsers of the command line."""
    targets = commands.add_parser("targets", help="the target database: build, list, show, add, check, diff")
    actions = targets.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_build, _add_list, _add_show, _add_add, _add_check, _add_diff):
        add(actions)


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _add_build(actions: Any) -> None:
    build = _action(actions, "build", _build, "build a database from published agency files")
    build.add_argument(
        "--raw", type=Path, required=True, metavar="FOLDER", help="folder with the published files, at any depth"
    )
    build.add_argument("--output", type=Path, default=Path("policy_data.db"), metavar="DB", help="file to write")
    build.add_argument("--year", type=int, default=_YEAR, help=f"year that is calibrated to ({_YEAR})")
    build.add_argument("--without", nargs="+", default=[], metavar="TABLE", help="tables to leave out")
    rules = "which targets are active: default, full, holdout, valued, or a YAML file of rules"
    build.add_argument("--selection", default=TargetSettings().selection, metavar="NAME|FILE", help=rules)


def _add_list(actions: Any) -> None:
    listing = _action(actions, "list", _list, "list targets, or count them")
    listing.add_argument("db", type=Path, metavar="DB")
    listing.add_argument("--variable", metavar="V")
    listing.add_argument("--level", choices=_LEVELS)
    listing.add_argument("--place", metavar="P", help="US, CA, CA-12, or a code: 0, 6, 612")
    listing.add_argument("--domain", metavar="D", help="variables of the constraints, with commas; '' for none")
    listing.add_argument("--source", metavar="S")
    listing.add_argument("--year", type=int, help="what a calibration of the year takes, brought to it; else as published")
    kept = listing.add_mutually_exclusive_group()
    kept.add_argument("--withheld", action="store_true", help="only what publishers withhold")
    kept.add_argument("--inactive", action="store_true", help="only what is left out of calibration")
    how = listing.add_mutually_exclusive_group()
    how.add_argument("--counts", action="store_true", help="numbers of targets by variable, domain and source at each level")
    how.add_argument("--family", action="store_true", help="a line per quantity: its places and sums at each level")
    _add_form(listing, _FORMATS, "--limit")


def _add_show(actions: Any) -> None:
    show = _action(actions, "show", _show, "tell all that is known of one target")
    show.add_argument("db", type=Path, metavar="DB")
    show.add_argument("target", metavar="ID|NAME", help="CA-12/person_count/[age<5,age>-1], or the id from list")
    show.add_argument("--year", type=int, default=_YEAR, help=f"year to bring the value to ({_YEAR})")


def _add_add(actions: Any) -> None:
    add = _action(actions, "add", _add, "add a target of one's own")
    add.add_argument("db", type=Path, metavar="DB")
    add.add_argument("--variable", required=True, metavar="V", help="a variable of the engine, or person_count and its like")
    add.add_argument("--value", type=float, required=True, metavar="X", help="in dollars or counts of the period")
    add.add_argument("--period", type=int, required=True, metavar="YEAR", help="year of the figure")
    add.add_argument("--place", default="US", metavar="P", help="US, CA, CA-12, or a code: 0, 6, 612")
    add.add_argument("--where", nargs="+", default=[], metavar="CONSTRAINT", help="such as 'age>=18' 'is_female==True'")
    add.add_argument("--source", required=True, metavar="S", help="where the figure comes from")
    add.add_argument("--url", default="", help="where a source that the database does not know is published")
    add.add_argument("--tolerance", type=float, metavar="T", help="90 percent margin of error, in the unit of the value")
    add.add_argument("--notes", metavar="N", help="where exactly it stands in the publication")
    add.add_argument("--reform", type=int, default=0, metavar="N", help="above 0: change in income tax without the variable")
    add.add_argument("--replace", action="store_true", help="put it in the place of the same target")
    add.add_argument("--output", type=Path, metavar="NEWFILE", help="write another file and leave the database as it is")
    add.add_argument("--year", type=int, default=_YEAR, help=f"year that a calibration will want ({_YEAR})")


def _add_check(actions: Any) -> None:
    check = _action(actions, "check", _check, "report where targets contradict each other, and what is followed")
    check.add_argument("db", type=Path, metavar="DB")
    check.add_argument("--year", type=int, default=_YEAR, help=f"year that the targets are brought to ({_YEAR})")
    kinds = "levels (whole and parts of places), sources (two for one quantity), parts (of a domain above the whole)"
    check.add_argument("--kind", choices=_KINDS, help=kinds)
    check.add_argument("--output", type=Path, metavar="FILE", help="write the report to a file")
    check.add_argument("--strict", action="store_true", help="exit with status 1 if a contradiction is not reconciled")
    _add_form(check, (*_FORMATS, "md"), "--limit")


def _add_diff(actions: Any) -> None:
    about = "tell what changed between two databases, by effect: the change as a share of the variable's largest figure"
    diff = _action(actions, "diff", _diff, about)
    diff.add_argument("old", type=Path, metavar="OLD")
    diff.add_argument("new", type=Path, metavar="NEW")
    diff.add_argument("--year", type=int, default=_YEAR, help=f"year that both are brought to ({_YEAR})")
    _add_form(diff, (*_FORMATS, "md"), "--top")


def _add_form(parser: argparse.ArgumentParser, forms: Sequence[str], limit: str) -> None:
    parser.add_argument("--format", dest="form", choices=forms, default="table")
    most = "rows at most, 0 for all (tables 50, csv and json all)"
    parser.add_argument(limit, dest="limit", type=_whole, metavar="N", help=most)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)


def _build(arguments: argparse.Namespace) -> int:
    if not arguments.raw.is_dir():
        raise ConfigError(f"{arguments.raw} is not a folder", "give the folder of published agency files")
    if arguments.output.is_dir():
        raise ConfigError(f"{arguments.output} is a folder", "give --output the name of the file to write")
    from geocal_core.targets.build import build_database
    from geocal_core.targets.layout import figure

    settings = TargetSettings(year=arguments.year, without=tuple(arguments.without), selection=arguments.selection)
    facts = build_database(arguments.raw, arguments.output, settings, Terminal())
    said = {"left out": ", ".join(settings.without)} if settings.without else {}
    said |= _condition(arguments.output, facts)
    said |= {name: figure(value) for name, value in facts.items() if isinstance(value, float) and name != "largest_gap"}
    for title, text in said.items():
        print(f"{title.replace('_', ' '):22}{text}")
    print(f"{'written to':22}{arguments.output}")
    return 0


def _condition(db: Path, facts: Mapping[str, Value]) -> dict[str, str]:
    """What a user should know of a new database: its targets, how much is withheld, and where it contradicts itself."""
    from geocal_core.targets.inventory import stored_targets

    targets, _ = stored_targets(db)
    withheld = targets.loc[targets["value"].isna(), "source"].value_counts()
    by_source = ", ".join(f"{count:,} {source}" for source, count in sorted(withheld.items()))
    more = f" (geocal targets list {db} --withheld)" if by_source else ""
    active = targets.loc[targets["active"], "geo_level"]
    by_level = ", ".join(f"{(active == level).sum():,} {level}" for level in _LEVELS)
    by_kind = ", ".join(f"{facts[f'contradictions_{kind}']} {kind}" for kind in _KINDS if f"contradictions_{kind}" in facts)
    return {
        "targets": f"{len(active):,}: {by_level}",
        "withheld figures": (by_source or "none") + more,
        "contradictions": f"{by_kind or 'none'}; {facts['contradictions_that_remain']} remain (geocal targets check {db})",
    }


def _summary(contradictions: Sequence[Any]) -> str:
    """Contradictions counted by kind, and how many of each remain."""
    if not contradictions:
        return "none"
    kinds = [(kind, [one for one in contradictions if one.kind == kind]) for kind in _KINDS]
    counts = [f"{len(of):,} {kind} ({sum(not one.reconciled for one in of):,} not reconciled)" for kind, of in kinds if of]
    return ", ".join(counts)


def _list(arguments: argparse.Namespace) -> int:
    from geocal_core.targets.listing import Filter, counted, families, targets_listed

    names = ("variable", "level", "place", "domain", "source", "withheld", "inactive")
    wanted = Filter(**{name: getattr(arguments, name) for name in names})
    if arguments.counts or arguments.family:
        if arguments.year is not None:
            raise ConfigError("counts and families are of what is stored", "leave out --year")
        rows, columns = counted(arguments.db, wanted) if arguments.counts else families(arguments.db, wanted)
    elif arguments.year is not None and (arguments.withheld or arguments.inactive):
        raise ConfigError("a calibration takes no inactive target", "leave out --year")
    else:
        rows, columns = targets_listed(arguments.db, wanted, arguments.year)
    _print(rows, columns, arguments, "no target matches")
    return 0


def _print(rows: Sequence[Any], columns: Sequence[Column], arguments: argparse.Namespace, none: str) -> None:
    from geocal_core.targets.layout import laid_out

    if not rows and arguments.form in ("table", "md"):
        print(none)
    else:
        print(laid_out(rows, columns, arguments.form, arguments.limit))


def _show(arguments: argparse.Namespace) -> int:
    from geocal_core.targets.dossier import dossier

    print(dossier(arguments.db, arguments.target, arguments.year))
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from geocal_core.targets.addition import Addition, add_target
    from geocal_core.targets.constraints import constraint_of
    from geocal_core.targets.describe import place_named
    from geocal_core.targets.dossier import dossier

    addition = Addition(
        variable=arguments.variable,
        value=arguments.value,
        period=arguments.period,
        place=place_named(arguments.place),
        rules=tuple(constraint_of(text) for text in arguments.where),
        source=arguments.source,
        url=arguments.url,
        tolerance=arguments.tolerance,
        notes=arguments.notes,
        reform_id=arguments.reform,
    )
    output = arguments.output or arguments.db
    target_id = add_target(arguments.db, output, addition, arguments.year, replace=arguments.replace)
    print(dossier(output, str(target_id), arguments.year))
    print(f"\nwritten to {output}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from geocal_core.store import atomic
    from geocal_core.targets.consistency import find_contradictions
    from geocal_core.targets.describe import key_of, place_named
    from geocal_core.targets.layout import Column, laid_out, short
    from geocal_core.targets.reading import is_database

    if arguments.output is not None and (arguments.output.is_dir() or is_database(arguments.output)):
        raise ConfigError(f"{arguments.output} is a folder or a database", "give --output another file for the report")
    found = [c for c in find_contradictions(arguments.db, arguments.year) if arguments.kind in (None, c.kind)]
    rows = [asdict(c) | {"ratio": c.ratio, "effect": c.effect, "place": key_of(place_named(c.place))} for c in found]
    columns = [
        Column("kind", "kind"),
        Column("place", "place"),
        Column("quantity", "quantity", below=True),
        Column("value", "value", short, right=True),
        Column("other", "other", short, right=True),
        Column("ratio", "ratio", lambda ratio: f"{ratio:.4g}", right=True),
        Column("follows", "follows", lambda source: source or "-", shrinks=True),
        Column("reconciled", "open", lambda reconciled: "" if reconciled else "open"),
    ]
    if arguments.form == "md":
        columns += [Column(key, key.replace("_", " ")) for key in ("source", "other_source", "why")]
    summary = _summary(found)
    shown = laid_out(rows, columns, arguments.form, arguments.limit)
    if arguments.form in ("table", "md"):
        shown = f"{shown}\n\n{summary}" if rows else "no contradiction"
    if arguments.output is None:
        print(shown)
    else:
        with atomic(arguments.output) as temporary:
            temporary.write_text(shown + "\n", encoding="utf-8")
        print(f"{summary}\nwritten to {arguments.output}")
    return 1 if arguments.strict and not all(c.reconciled for c in found) else 0


def _diff(arguments: argparse.Namespace) -> int:
    from geocal_core.targets import diff
    from geocal_core.targets.layout import Column, figure, share

    if arguments.form == "md":
        most = 50 if arguments.limit is None else arguments.limit
        print(diff.markdown(arguments.old, arguments.new, arguments.year, most))
        return 0
    table = diff.compare(arguments.old, arguments.new, arguments.year)
    columns = [
        Column("change", "change"),
        Column("name", "target", below=True),
        Column("old", "old", figure, right=True),
        Column("new", "new", figure, right=True),
        Column("relative", "by", share, right=True),
        Column("effect", "effect", lambda effect: f"{effect:.4%}", right=True),
        Column("own", "own", lambda own: "" if own else "follows"),
    ]
    if arguments.form == "table":
        for one in diff.compare_files(arguments.old, arguments.new):
            print(f"file {one.change}: {one.file or 'none'} ({one.source})")
        print(f"{diff.headline(table)} (targets of {arguments.year})")
    _print(table.to_dict("records"), columns, arguments, "no target changed")
    return 0
