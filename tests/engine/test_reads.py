"""What variables read, closures of it against plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from geocal_core.engine.reads import Reads

NAMES = "abcdefgh"


def graph(arrows: list[tuple[str, str, int, int]]) -> Reads:
    reads = Reads()
    for name in NAMES:
        reads.of[(name, "2024")] = set()
    for reader, read, month, other in arrows:
        reads.of.setdefault((reader, f"2024-{month:02d}"), set()).add((read, f"2024-{other:02d}"))
        reads.of.setdefault((read, f"2024-{other:02d}"), set())
    return reads


def reaches(arrows: set[tuple[str, str]], start: str, goals: set[str]) -> bool:
    seen, waiting = set(), [start]
    while waiting:
        here = waiting.pop()
        if here in goals:
            return True
        if here not in seen:
            seen.add(here)
            waiting += [read for reader, read in arrows if reader == here]
    return False


ARROWS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(1, 2), st.integers(1, 2)), max_size=25)


@given(ARROWS, st.sets(st.sampled_from(NAMES), max_size=3))
def test_dependants_are_those_from_whom_a_root_is_reached(arrows: list[tuple[str, str, int, int]], roots: set[str]) -> None:
    plain = {(reader, read) for reader, read, *_ in arrows}
    assert graph(arrows).depending_on(roots) == {name for name in NAMES if reaches(plain, name, roots)}


@given(ARROWS, st.sets(st.sampled_from(NAMES), max_size=4))
def test_what_is_made_of_inputs_reads_nothing_else(arrows: list[tuple[str, str, int, int]], inputs: set[str]) -> None:
    plain = {(reader, read) for reader, read, *_ in arrows if reader != read and reader not in inputs}
    leaves = {name for name in NAMES if name not in inputs and not any(reader == name for reader, _ in plain)}
    found = graph(arrows).made_of(inputs)
    for name in NAMES:
        circular = any(reaches(plain, read, {name}) for reader, read in plain if reader == name)
        upon_circles = any(
            reaches(plain, name, {other}) and any(reaches(plain, read, {other}) for reader, read in plain if reader == other)
            for other in NAMES
        )
        pure = name not in inputs and name not in leaves and not reaches(plain, name, leaves)
        assert (name in found) == (pure and not circular and not upon_circles)


def test_a_month_and_its_year_are_one_variable() -> None:
    """The engine passes from a month to its year without saying so."""
    reads = Reads()
    reads.of = {("snap", "2024-05"): {("state_code", "2024-05")}, ("state_code", "2024-05"): set()}
    reads.of |= {("state_code", "2024"): {("state_fips", "2024")}, ("state_fips", "2024"): set()}
    assert reads.depending_on({"state_fips"}) == {"snap", "state_code", "state_fips"}
    assert reads.made_of({"state_fips"}) == {"snap", "state_code"}
