from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.charts import line_chart, panels, standalone

NAMESPACE = "{http://www.w3.org/2000/svg}"
POINTS = st.lists(st.tuples(st.floats(1e-9, 1e12), st.floats(1e-9, 1e12)), min_size=1, max_size=20)


def _parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


@given(POINTS, st.booleans(), st.booleans())
def test_all_points_and_marks_lie_inside_the_picture(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    tree = _parse(line_chart({"a": points}, title="t", x_label="x", y_label="y", log_x=log_x, log_y=log_y))
    (line,) = tree.iter(f"{NAMESPACE}polyline")
    placed = [tuple(float(value) for value in point.split(",")) for point in line.attrib["points"].split()]
    assert len(placed) == len(points) == len(list(tree.iter(f"{NAMESPACE}circle")))
    assert all(0 <= x <= 520 and 0 <= y <= 260 for x, y in placed)
    grid = list(tree.iter(f"{NAMESPACE}line"))
    assert 2 <= len(grid) <= 24
    assert all(0 <= float(element.attrib["x1"]) <= 520 and 0 <= float(element.attrib["y1"]) <= 260 for element in grid)


@given(st.integers(-30, 30), st.lists(st.integers(0, 50), min_size=2, max_size=5), st.booleans())
def test_axes_have_round_marks_around_the_values(power: int, steps: list[int], log: bool) -> None:
    """Whatever their size: two marks or more, the values between the first and the last of the vertical axis."""
    values = [10.0**power * (1 + step / 10) for step in steps]
    tree = _parse(line_chart({"a": list(enumerate(values))}, title="t", x_label="x", y_label="y", log_y=log))
    (line,) = tree.iter(f"{NAMESPACE}polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    marks = [float(e.attrib["y1"]) for e in tree.iter(f"{NAMESPACE}line") if e.attrib["y1"] == e.attrib["y2"]]
    assert 2 <= len(marks) <= 9
    assert (marks[0], marks[-1]) == (216, 14)
    assert marks[0] >= max(heights) >= min(heights) >= marks[-1]
    texts = [text.text or "" for text in tree.iter(f"{NAMESPACE}text") if text.get("text-anchor") == "end"]
    assert len(set(texts)) == len(marks)
    assert max(map(len, texts)) <= 10


def test_large_and_small_marks_are_powers_of_ten() -> None:
    large = line_chart({"a": [(0, 2e6), (1, 1e7)]}, title="t", x_label="x", y_label="y")
    assert {"2·10⁶", "10⁷"} <= {text.text for text in _parse(large).iter(f"{NAMESPACE}text")}
    small = line_chart({"a": [(10_000, 1e-9), (20_000, 1.0)]}, title="t", x_label="x", y_label="y", log_y=True)
    assert {"10⁻⁹", "12,000", "20,000"} <= {text.text for text in _parse(small).iter(f"{NAMESPACE}text")}
    near = line_chart({"a": [(0, 130), (1, 180)]}, title="t", x_label="x", y_label="y", log_y=True)
    assert [text.text for text in _parse(near).iter(f"{NAMESPACE}text") if text.get("text-anchor") == "end"] == ["100", "200"]


@pytest.mark.parametrize(
    ("ends", "right", "low"),
    [
        (((0, 1), (0.1, 0.9)), True, True),
        (((1, 0), (0.9, 0.1)), True, False),
        (((0.3, 0), (0.5, 1), (0, 0.5)), False, False),
        (((1, 0), (0.8, 0.9)), False, True),
    ],
)
def test_names_stand_where_the_lines_leave_room(ends: tuple[tuple[float, float], ...], right: bool, low: bool) -> None:
    lines = {f"line {number}": [(0.0, first), (1.0, last)] for number, (first, last) in enumerate(ends)}
    tree = _parse(line_chart(lines, title="t", x_label="x", y_label="y"))
    (box,) = tree.iter(f"{NAMESPACE}rect")
    left, top, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
    assert (left > 260, top > 115) == (right, low)
    for line in tree.iter(f"{NAMESPACE}polyline"):
        (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
        for share in np.linspace(0, 1, 500):
            x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
            assert not (left < x < left + width and top < y < top + height)


def test_a_file_of_its_own_shows_its_title_on_white() -> None:
    chart = line_chart({"a": [(1, 1)]}, title="<t> & u", x_label="x", y_label="y")
    tree = _parse(standalone(chart))
    (title,) = (text for text in tree.iter(f"{NAMESPACE}text") if text.get("class") == "title")
    assert title.text == tree.findtext(f"{NAMESPACE}title") == "<t> & u"
    _, top, width, height = map(float, tree.attrib["viewBox"].split())
    white = next(tree.iter(f"{NAMESPACE}rect")).attrib
    assert (float(white["y"]), float(white["width"]), float(white["height"]), white["fill"]) == (top, width, height, "#fff")
    assert top < float(title.attrib["y"]) < 0
    assert "title" not in {text.get("class") for text in _parse(chart).iter(f"{NAMESPACE}text")}
    assert standalone("") == ""


def test_points_stand_where_the_scale_says() -> None:
    tree = _parse(line_chart({"a": [(1.0, 0.0), (10.0, 5.0), (100.0, 10.0)]}, title="t", x_label="x", y_label="y", log_x=True))
    (line,) = tree.iter(f"{NAMESPACE}polyline")
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    marks = [text.text for text in tree.iter(f"{NAMESPACE}text")]
    assert {"1", "10", "100", "0", "2", "4"} <= set(marks)


def test_names_are_escaped_and_shown_where_there_are_several() -> None:
    chart = line_chart({"<a>": [(1, 1)], "b & c": [(2, 2)]}, title='"<t>"', x_label="<x>", y_label="y")
    texts = [text.text for text in _parse(chart).iter(f"{NAMESPACE}text")]
    assert {"<a>", "b & c", "<x>"} <= set(texts)
    assert "<a>" not in chart
    strokes = [(line.get("stroke"), line.get("stroke-dasharray")) for line in _parse(chart).iter(f"{NAMESPACE}polyline")]
    samples = [(line.get("stroke"), line.get("stroke-dasharray")) for line in _parse(chart).iter(f"{NAMESPACE}path")]
    assert len(set(strokes)) == 2
    assert samples == strokes


def test_shares_are_shown_in_per_cent() -> None:
    chart = line_chart(
        {"a": [(0.01, 0.0), (1.0, 1.0)]}, title="t", x_label="x", y_label="y", log_x=True, percent_x=True, percent_y=True
    )
    texts = [text.text for text in _parse(chart).iter(f"{NAMESPACE}text")]
    assert {"1 %", "10 %", "100 %", "20 %"} <= set(texts)


def test_nothing_is_drawn_without_points() -> None:
    assert line_chart({"a": []}, title="t", x_label="x", y_label="y") == ""


@pytest.mark.parametrize(("count", "box"), [(1, "0 0 520 286"), (2, "0 0 1040 286"), (3, "0 0 1040 572"), (4, "0 0 1040 572")])
def test_panels_stand_side_by_side_each_with_its_title(count: int, box: str) -> None:
    drawn = [line_chart({"a": [(1, 1), (2, 3)]}, title=f"<{place}>", x_label="x", y_label="y") for place in range(count)]
    tree = _parse(panels(["", *drawn], "all & each"))
    assert tree.attrib["viewBox"] == box
    parts = [child for child in tree if child.tag == f"{NAMESPACE}svg"]
    places = [(int(part.attrib["x"]), int(part.attrib["y"])) for part in parts]
    assert places == [(0, 0), (520, 0), (0, 286), (520, 286)][:count]
    assert [part.find(f"{NAMESPACE}title").text for part in parts] == [f"<{place}>" for place in range(count)]  # type: ignore[union-attr]
    assert tree.attrib["aria-label"] == "all & each"


def test_panels_of_nothing_are_empty() -> None:
    assert panels(["", ""], "t") == ""
