"""Selection of targets: what rules choose, in any order, and what every kind of bad file is told."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError, GeocalError
from geocal_core.matrix.quantities import quantities_of
from geocal_core.settings import FitSettings, PackageSettings, TargetSettings
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import Figure, Scope
from geocal_core.targets.select import load_targets
from geocal_core.targets.selection import SHIPPED, Rule, Selection, _parse, deactivate, outside_digest, read_selection, selected
from geocal_core.targets.writer import write_database

ROWS = [
    ("snap", "national", "snap", "USDA FNS SNAP", 0),
    ("snap", "state", "snap", "USDA FNS SNAP", 0),
    ("household_count", "state", "snap", "USDA FNS SNAP", 0),
    ("household_count", "district", "snap", "Census ACS S2201", 0),
    ("person_count", "national", "age", "Census ACS S0101", 0),
    ("person_count", "district", "age", "Census ACS S0101", 0),
    ("person_count", "district", "adjusted_gross_income", "IRS SOI", 0),
    ("eitc", "state", "eitc,eitc_child_count", "IRS SOI", 0),
    ("salt_deduction", "national", "", "JCT", 1),
    ("rent", "national", "", "Census", 0),
]
TARGETS = pd.DataFrame(ROWS, columns=["variable", "geo_level", "domain_variable", "source", "reform_id"])


def rules(*texts: str) -> tuple[Rule, ...]:
    """Rules of ``variable/level/domain``; an empty part asks for nothing."""
    return tuple(Rule(*(part or None for part in f"{text}//".split("/")[:3])) for text in texts)


def chosen(selection: Selection) -> list[int]:
    return selected(selection, TARGETS).index.tolist()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_no_rule_takes_everything_and_holds_nothing_out() -> None:
    table = selected(Selection(), TARGETS)
    pd.testing.assert_frame_equal(table.drop(columns="held_out"), TARGETS)
    assert table["held_out"].dtype == np.bool_
    assert not table["held_out"].any()


def test_all_the_properties_of_a_rule_must_be_met() -> None:
    assert chosen(Selection(include=rules("snap"))) == [0, 1]
    assert chosen(Selection(include=rules("snap/state"))) == [1]
    assert chosen(Selection(include=rules("person_count//age", "rent"))) == [4, 5, 9]
    assert chosen(Selection(exclude=rules("person_count/district/adjusted_gross_income", "household_count"))) == [
        0,
        1,
        4,
        5,
        7,
        8,
        9,
    ]
    assert chosen(Selection(include=(Rule("household_count", source="Census ACS S2201"),))) == [3]
    assert chosen(Selection(exclude=(Rule("salt_deduction", reform_id=1),))) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert chosen(Selection(include=(Rule("rent", domain_variable=""),))) == [9]


def test_a_star_stands_for_anything() -> None:
    assert chosen(Selection(include=rules("*_count/district"))) == [3, 5, 6]
    assert chosen(Selection(include=(Rule("*", source="USDA*"),))) == [0, 1, 2]
    assert chosen(Selection(exclude=rules("*//*eitc*"))) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert chosen(Selection(include=rules("s*p"))) == [0, 1]
    for pattern in ("sna.", "*_cnt", "[a-z]*"):
        with pytest.raises(ConfigError, match="matches no target; variable is one of"):
            chosen(Selection(include=(Rule(pattern),)))
    assert len(selected(Selection(exclude=(Rule("zz*", domain_variable="*,age", optional=True),)), TARGETS)) == len(TARGETS)


def test_holdouts_are_marked_among_the_chosen_and_stay_held_out() -> None:
    table = selected(Selection(include=rules("snap", "household_count"), holdout=rules("household_count/district")), TARGETS)
    assert table["held_out"].to_dict() == {0: False, 1: False, 2: False, 3: True}
    again = selected(Selection(exclude=rules("snap/national")), table)
    assert again["held_out"].to_dict() == {1: False, 2: False, 3: True}


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(include=rules("snpa")), r"include rule 1 \{variable: 'snpa'\} matches no target; variable is one of 'snap'"),
        (Selection(exclude=rules("rent", "snap/district")), r"exclude rule 2 .* geo_level is one of 'national', 'state'"),
        (Selection(exclude=rules("eitc/state/eitc")), r"domain_variable is one of 'eitc,eitc_child_count'"),
        (Selection(exclude=(Rule("salt_deduction", reform_id=2),)), r"reform_id is one of '1'"),
        (Selection(include=rules("rent"), exclude=rules("snap")), "exclude rule 1 .* leave none of its targets; remove it"),
        (Selection(exclude=rules("snap"), holdout=rules("snap")), "holdout rule 1 .* leave none of its targets; remove it"),
        (Selection(exclude=tuple(Rule(v) for v in TARGETS["variable"].unique())), "selects none of 10 targets"),
        (Selection(include=rules("rent"), holdout=rules("rent")), "holds out every target that it selects"),
    ],
)
def test_a_rule_that_matches_nothing_is_an_error_with_the_nearest_names(selection: Selection, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        selected(selection, TARGETS)


def test_an_optional_rule_may_match_nothing_but_not_be_misspelt() -> None:
    told: list[str] = []
    gone = Selection(exclude=(Rule("tanf", "state", optional=True), Rule("rent")))
    assert len(selected(gone, TARGETS, told.append)) == 9
    assert told == [
        "the selection: 1 optional rules match nothing here, such as exclude {variable: 'tanf', geo_level: 'state'}"
    ]
    for rule, word in ((Rule("tnaf", optional=True), "tnaf"), (Rule("snap", None, "snap,aeg", optional=True), "aeg")):
        with pytest.raises(ConfigError, match=f"speaks of '{word}', which is no variable; near it are"):
            selected(Selection(exclude=(rule,)), TARGETS)


# ---------------------------------------------------------------------------------------------------------------- properties

_present = st.sampled_from(ROWS).flatmap(
    lambda row: st.builds(
        Rule,
        st.just(row[0]),
        st.sampled_from([None, row[1]]),
        st.sampled_from([None, row[2]]),
        st.sampled_from([None, row[3]]),
        st.sampled_from([None, row[4]]),
        st.just(True),
    )
)
_lists = st.lists(_present, max_size=6).map(tuple)


def _plainly(rule: Rule) -> set[int]:
    return {
        row
        for row, values in enumerate(ROWS)
        if all(
            wanted in (None, found)
            for wanted, found in zip(
                (rule.variable, rule.geo_level, rule.domain_variable, rule.source, rule.reform_id), values, strict=True
            )
        )
    }


@settings(deadline=None, max_examples=60)
@given(_lists, _lists, _lists)
def test_the_choice_is_the_algebra_of_sets(
    include: tuple[Rule, ...], exclude: tuple[Rule, ...], holdout: tuple[Rule, ...]
) -> None:
    wanted = set().union(*map(_plainly, include)) if include else set(range(len(ROWS)))
    wanted -= set().union(*map(_plainly, exclude))
    held = wanted & set().union(*map(_plainly, holdout))
    selection = Selection(include, exclude, holdout)
    if wanted == held:
        with pytest.raises(ConfigError):
            selected(selection, TARGETS)
        return
    table = selected(selection, TARGETS)
    assert table.index.tolist() == sorted(wanted)
    assert set(table.index[table["held_out"]]) == held
    # Choosing once more among the chosen changes nothing.
    pd.testing.assert_frame_equal(selected(selection, table), table)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_order_of_rules_and_of_rows_means_nothing(data: st.DataObject) -> None:
    lists = [data.draw(_lists) for _ in range(3)]
    shuffled = [tuple(data.draw(st.permutations(of_one))) for of_one in lists]
    rows = TARGETS.loc[list(data.draw(st.permutations(range(len(ROWS)))))]
    try:
        first = selected(Selection(*lists), TARGETS)
    except ConfigError:
        with pytest.raises(ConfigError):
            selected(Selection(*shuffled), rows)
        return
    second = selected(Selection(*shuffled), rows)
    pd.testing.assert_frame_equal(first, second.sort_index())


# ---------------------------------------------------------------------------------------------------------------------- YAML


def test_a_file_is_read_as_it_stands(written: Path) -> None:
    written.write_text(
        "# mine\ninclude:\n  - variable: snap\n  - {variable: eitc, domain_variable: 'eitc_child_count, eitc'}\n"
        "exclude:\n- {variable: salt_deduction, geo_level: national, domain_variable: '', reform_id: 1}\n"
        "holdout:\n- {variable: snap, geo_level: state, source: USDA FNS SNAP, optional: true}\n"
    )
    selection = read_selection(str(written))
    assert selection.include == (Rule("snap"), Rule("eitc", domain_variable="eitc,eitc_child_count"))
    assert selection.exclude == (Rule("salt_deduction", "national", "", reform_id=1),)
    assert selection.holdout == (Rule("snap", "state", source="USDA FNS SNAP", optional=True),)
    with pytest.raises(ConfigError, match=r"mine\.yaml, exclude rule 1 .* matches no target"):
        selected(selection, TARGETS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no rules"),
        ("# nothing\n", "holds no rules"),
        ("- variable: snap\n", "holds no rules"),
        ("snap", "holds no rules"),
        ("exclude: [", "is not YAML"),
        ("exclude:\n\t- variable: snap\n", r"is not YAML \(.*, line 2\)"),
        ("a: b: c\n", "is not YAML"),
        ("exclude: []\n---\nexclude: []\n", "is not YAML"),
        ("exclude: *gone\n", "is not YAML"),
        ("exclude: \x00", "is not YAML"),
        ("[" * 3000, "is not YAML"),
        ("exlude: []\n", r"\(line 1\) has the key 'exlude'; exclude is meant\? keys are base, include, exclude, holdout"),
        ("exclude: []\nexclude: []\n", r"\(line 2\) has the key 'exclude' twice"),
        ("? [a]\n: []\n", "has the key 'a list'"),
        ("exclude:\n  variable: snap\n", "line 2: exclude is no list"),
        ("exclude:\n", "line 1: exclude is no list"),
        ("include: []\n", "line 1: include is empty"),
        ("exclude:\n- snap\n", r"exclude rule 1 \(line 2\) is no rule"),
        ("exclude:\n- variable: snap\n- geo_level: state\n", r"exclude rule 2 \(line 3\) names no variable"),
        ("exclude:\n- {variable: ''}\n", "names no variable"),
        ("exclude:\n- {variable: snap, level: state}\n", "has the key 'level'; geo_level is meant"),
        ("exclude:\n- {variable: snap, variable: rent}\n", "has the key 'variable' twice"),
        ("exclude:\n- {variable: snap, geo_level: county}\n", "geo_level 'county'; levels are national, state, district"),
        ("exclude:\n- {variable: [snap]}\n", "has a variable that is no text"),
        ("exclude:\n- {variable: 12}\n", "has a variable that is no text"),
        ("exclude:\n- {variable: on}\n", "has a variable that is no text"),
        ("exclude:\n- {variable: !!python/object:os.system x}\n", "has a variable that is no text"),
        ("exclude:\n- {variable: snap, domain_variable: }\n", "has a domain_variable that is no text"),
        ("exclude:\n- {variable: snap, domain_variable: 2024-13-45}\n", "domain_variable that is no text"),
        ("exclude:\n- {variable: snap, reform_id: one}\n", "has a reform_id that is no whole number"),
        ("exclude:\n- {variable: snap, reform_id: -1}\n", "has a reform_id that is no whole number"),
        ("exclude:\n- {variable: snap, optional: maybe}\n", "has a value of optional that is neither true nor false"),
        ("exclude: &a [*a]\n", "is no rule"),
        ("base: mine\n", "line 1: base is no selection shipped here; they are default, full, holdout, valued"),
        ("base: [full]\n", "line 1: base is no selection shipped here"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(text: str, words: str, written: Path) -> None:
    written.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_selection(str(written))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_base_puts_its_rules_first(written: Path) -> None:
    written.write_text("base: holdout\nexclude:\n- variable: rent\n")
    selection, holdout = read_selection(str(written)), read_selection("holdout")
    assert selection == Selection(holdout.include, (*holdout.exclude, Rule("rent")), holdout.holdout, "mine.yaml")


def test_a_name_that_is_neither_shipped_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no selection of targets 'defualt'; near it is default; give a YAML file, or one of"):
        read_selection("defualt")
    with pytest.raises(ConfigError, match="there is no selection"):
        read_selection(str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"exclude: []  # caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml is not text in UTF-8 \(.* at byte 18\)"):
        read_selection(str(tmp_path / "latin.yaml"))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.text(alphabet="[]{}:,-&*!? \n\tvariable'\"", max_size=60))
def test_no_text_gives_anything_but_rules_or_one_line(text: str) -> None:
    said = ""
    try:
        _parse(text, "x")
    except GeocalError as error:
        said = str(error)
    assert "\n" not in said


def test_without_yaml_one_line_says_so(written: Path) -> None:
    written.write_text("exclude: []\n")
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from geocal_core.targets.selection import read_selection\n"
        f"read_selection({str(written)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: mine.yaml is YAML, and PyYAML is not installed to read it; pip install pyyaml" in done.stderr


# -------------------------------------------------------------------------------------------------- shipped files, fingerprint


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_can_be_read_and_is_optional_throughout(name: str) -> None:
    selection = read_selection(name)
    every = (*selection.include, *selection.exclude, *selection.holdout)
    assert all(rule.optional for rule in every), "a database may lack any table"
    assert len(set(every)) == len(every)
    if every:
        # Words of shipped rules are checked even where they match nothing.
        targets = pd.concat([TARGETS, TARGETS.assign(variable="household_net_income")])
        selected(selection, targets)


def test_holdout_scores_what_the_default_leaves_out_of_all_that_can_be_valued() -> None:
    valued, default, holdout = (read_selection(name) for name in ("valued", "default", "holdout"))
    assert (holdout.include, holdout.exclude) == (valued.include, valued.exclude)
    assert set(default.exclude) - set(valued.exclude) < set(holdout.holdout)
    assert not default.holdout
    assert read_selection("full") == Selection(name="selection 'full'")


def test_the_digest_of_a_file_is_of_its_rules(written: Path) -> None:
    for shipped in (TargetSettings(), PackageSettings(), FitSettings(), FitSettings(targets="full")):
        assert outside_digest("", shipped) == ""
    digests = []
    for text in (
        "exclude:\n- variable: snap\n- variable: rent\n",
        "# the same\nexclude: [{variable: rent}, {variable: snap}]\nholdout: []\n",
        "exclude:\n- variable: snap\n",
        "holdout:\n- variable: snap\n",
    ):
        written.write_text(text)
        digests.append(outside_digest("calibration_package", PackageSettings(targets=str(written))))
        assert outside_digest("weights", FitSettings(targets=str(written))) == digests[-1]
        assert outside_digest("target_db", TargetSettings(selection=str(written))) == digests[-1]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert all(digests)


def test_a_database_keeps_what_is_not_selected_as_inactive(tmp_path: Path) -> None:
    scope = Scope.of(2024, ("DE",))
    fed = ((Constraint("snap", ">", "0"),),)
    figures = [
        Figure("snap", 10.0, 2024, 0, "USDA FNS SNAP", fed),
        Figure("snap", 10.0, 2024, 10, "USDA FNS SNAP", fed),
        Figure("household_count", 5.0, 2024, 10, "USDA FNS SNAP", fed),
        Figure("household_count", None, 2024, 1001, "Census ACS S2201", fed),
    ]
    for name in ("a.db", "b.db"):
        write_database(tmp_path / name, figures, scope)
        assert deactivate(tmp_path / name, Selection(exclude=rules("snap/state/snap"))) == 1
    assert (tmp_path / "a.db").read_bytes() == (tmp_path / "b.db").read_bytes()
    targets, _ = load_targets(tmp_path / "a.db", 2024)
    assert targets[["variable", "geo_level"]].to_numpy().tolist() == [["snap", "national"], ["household_count", "state"]]
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM targets").fetchone() == (4,)
    with pytest.raises(ConfigError, match="household_count.*geo_level is one of 'state'"):
        deactivate(tmp_path / "a.db", Selection(exclude=rules("household_count/district")))


# ------------------------------------------------------------------------------------------------------- the published tables


@pytest.mark.raw
def test_every_shipped_rule_matches_published_targets_that_are_at_hand(published_db: Path) -> None:
    """The files of births and of the districts' returns are not at hand."""
    targets, constraints = load_targets(published_db, 2024)
    idle = []
    for name in SHIPPED:
        selection = read_selection(name)
        for rule in {*selection.exclude, *selection.holdout}:
            try:
                selected(Selection(exclude=(replace(rule, optional=False),)), targets)
            except ConfigError:
                idle.append((rule.variable, rule.geo_level, rule.domain_variable))
    assert set(idle) == {
        ("person_count", None, "is_pregnant"),
        ("*", None, "medicaid"),
        ("*", "district", "adjusted_gross_income"),
        ("*", "district", "eitc,eitc_child_count"),
    }
    default = selected(read_selection("default"), targets)
    assert len(default) > 11_500
    valued = selected(read_selection("valued"), targets)
    assert len(valued) > 15_000
    quantities_of(valued, constraints)  # the engine can value every one of them
    with pytest.raises(ConfigError, match="cannot be valued"):
        quantities_of(targets, constraints)
    # No quantity is left with two figures for one place.
    assert not valued.duplicated(["variable", "stratum_id", "reform_id"]).any()
    scored = selected(read_selection("holdout"), targets)
    assert scored.index.tolist() == valued.index.tolist()
    assert set(valued.index) - set(default.index) < set(scored.index[scored["held_out"]]) < set(valued.index)
