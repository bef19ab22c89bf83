from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.charts import line_chart

NAMESPACE = "{http://www.w3.org/2000/svg}"
POINTS = st.lists(st.tuples(st.floats(1e-9, 1e12), st.floats(1e-9, 1e12)), min_size=1, max_size=20)


def _parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


@given(POINTS, st.booleans(), st.booleans())
def test_all_points_and_marks_lie_inside_the_picture(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    tree = _parse(line_chart({"a": points}, title="t", x_label="x", y_label="y", log_x=log_x, log_y=log_y))
    (line,) = tree.iter(f"{NAMESPACE}polyline")
    placed = [tuple(float(value) for value in point.split(",")) for point in line.attrib["points"].split()]
    assert len(placed) == len(points)
    assert all(0 <= x <= 520 and 0 <= y <= 260 for x, y in placed)
    grid = list(tree.iter(f"{NAMESPACE}line"))
    assert 2 <= len(grid) <= 24
    assert all(0 <= float(element.attrib["x1"]) <= 520 and 0 <= float(element.attrib["y1"]) <= 260 for element in grid)


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


def test_shares_are_shown_in_per_cent() -> None:
    chart = line_chart(
        {"a": [(0.01, 0.0), (1.0, 1.0)]}, title="t", x_label="x", y_label="y", log_x=True, percent_x=True, percent_y=True
    )
    texts = [text.text for text in _parse(chart).iter(f"{NAMESPACE}text")]
    assert {"1 %", "10 %", "100 %", "20 %"} <= set(texts)


def test_nothing_is_drawn_without_points() -> None:
    assert line_chart({"a": []}, title="t", x_label="x", y_label="y") == ""
