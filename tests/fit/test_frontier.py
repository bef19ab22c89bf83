"""The frontier: its figures against those of single fits and of brute force, its files, and what it refuses."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls

from geocal_core.errors import ConfigError
from geocal_core.fit.diagnostics import effective_sample_size
from geocal_core.fit.frontier import COLUMNS, DENSE, FILES, Frontier, frontier, markdown, plot, write
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.sized import dense_of, exact
from tests.fit.conftest import matrix_and_targets

GATES: dict[str, Any] = {"epochs": 60, "lambda_l0": 1e-4}


def made(held: bool = True, n_columns: int = 120) -> Problem:
    matrix, targets = matrix_and_targets(10, n_columns, 7)
    held_out = np.arange(10) >= 7 if held else None
    return problem(matrix, targets, np.full(n_columns, 15.0), held_out=held_out)


def test_each_row_is_a_fit_of_its_own() -> None:
    fitted = made()
    found = frontier(fitted, [30, 90], ["cube", "pps", "gates", "random"], gap=1e-8, **GATES)
    table = found.table
    assert list(table) == list(COLUMNS)
    assert table["method"].tolist() == [DENSE, *(method for method in ("cube", "pps", "gates", "random") for _ in range(2))]
    assert table["records"].tolist()[1:] == [90, 30] * 4
    dense = dense_of(fitted, "cube", gap=1e-8).weights
    assert table.loc[0, "effective_sample_size"] == pytest.approx(effective_sample_size(dense))
    for row in table.iloc[1:].to_dict("records"):
        own: dict[str, Any] = GATES if row["method"] == "gates" else {}
        alone = exact(fitted, row["records"], row["method"], gap=1e-8, **own)
        assert row["loss"] == pytest.approx(alone.loss, rel=0.05, abs=1e-7)  # both within a gap of the same optimum
        assert row["design_loss"] == pytest.approx(alone.design_loss)
        assert row["largest_weight"] == pytest.approx(alone.weights.max(), rel=0.05)
        assert row["effective_sample_size"] == pytest.approx(effective_sample_size(alone.weights), rel=0.05)
        matrix = fitted.held_matrix.tocsr().astype(np.float64)
        assert fitted.held_loss(alone.weights) == pytest.approx(fitted.held_objective.loss(matrix @ alone.weights))
        assert row["held_out_loss"] == pytest.approx(fitted.held_loss(alone.weights), rel=0.1, abs=1e-5)


def test_no_selection_beats_the_best_of_all_selections() -> None:
    """Of 9 columns, every subset of each size, fitted without bounds: a lower limit of every method's loss, and it falls."""
    matrix, targets = matrix_and_targets(5, 9, 11, density=0.7)
    fitted = problem(matrix, targets, np.full(9, 20.0))
    scaled = matrix.toarray().astype(np.float64) / fitted.scale[:, None]
    best = {
        k: min(nnls(scaled[:, list(chosen)], targets / fitted.scale)[1] ** 2 for chosen in combinations(range(9), k))
        for k in (2, 4, 6)
    }
    assert best[2] >= best[4] >= best[6]
    table = frontier(fitted, [2, 4, 6], ["cube", "pps", "random"]).table.iloc[1:]
    for row in table.to_dict("records"):
        assert row["loss"] >= best[row["records"]] * (1 - 1e-9) - 1e-12
        assert 1 <= row["effective_sample_size"] <= row["records"] * (1 + 1e-12)


def test_more_records_lose_less_where_few_can_not_meet_the_targets() -> None:
    matrix, targets = matrix_and_targets(60, 400, 5)
    table = frontier(problem(matrix, targets, np.full(400, 20.0)), [20, 60, 200], ["cube", "pps"]).table
    for _, rows in table.iloc[1:].groupby("method"):
        ordered = rows.sort_values("records")
        assert ordered["loss"].is_monotonic_decreasing
        assert ordered["effective_sample_size"].is_monotonic_increasing


def test_gates_that_keep_too_few_are_left_out_and_named() -> None:
    said: list[str] = []
    found = frontier(made(), [10, 120], ["gates"], progress=said.append, epochs=200, lambda_l0=3e-3, log_every=100)
    assert found.table["records"].tolist() == [10]
    assert [(one["method"], one["records"]) for one in found.left_out] == [("gates", 120)]
    assert "the gates kept" in found.left_out[0]["why"]
    assert any("left out" in line for line in said)
    assert "Left out: gates 120" in markdown(found)


def test_without_held_out_targets_their_figures_are_empty() -> None:
    table = frontier(made(held=False), [50], ["pps"]).table
    assert table[["held_out_loss", "held_out_median", "held_out_within_1"]].isna().all().all()
    assert len(list(ElementTree.fromstring(plot(table)))) == 1 + 3  # its title, and a panel less


def test_files_hold_the_table_and_are_the_same_bytes_for_any_number_of_threads(tmp_path: Path) -> None:
    written = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        found = frontier(made(), [30, 90], ["cube", "random"], threads=threads)
        write(folder, found, {"seed": 0})
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == FILES
    read = pd.read_csv(tmp_path / "1" / "frontier.csv")
    pd.testing.assert_frame_equal(read, found.table, check_dtype=False)
    content = json.loads(written[0]["frontier.json"])
    assert content["seed"] == 0
    assert [row["loss"] for row in content["rows"]] == pytest.approx(found.table["loss"].tolist())
    assert content["rows"][0]["design_loss"] is None
    text = written[0]["frontier.md"].decode()
    assert text.count("\n| ") == 2 + len(found.table) - 1 + 1
    picture = ElementTree.fromstring(written[0]["frontier.svg"])
    panels = [child for child in picture if child.tag.endswith("svg")]
    assert [(panel.attrib["x"], panel.attrib["y"]) for panel in panels] == [
        ("0", "0"),
        ("520", "0"),
        ("0", "286"),
        ("520", "286"),
    ]


def test_nothing_to_draw_is_no_picture() -> None:
    assert plot(pd.DataFrame(columns=COLUMNS)) == ""
    assert markdown(Frontier(pd.DataFrame(columns=COLUMNS), [])).startswith("# Frontier")


@pytest.mark.parametrize(
    ("sizes", "methods", "own", "words"),
    [
        ([], ["cube"], {}, "sizes of the frontier are none or repeated"),
        ([10, 10], ["cube"], {}, "sizes of the frontier are none or repeated"),
        ([10], [], {}, "methods of the frontier are none or repeated"),
        ([10], ["cube", "cube"], {}, "methods of the frontier are none or repeated"),
        ([10], ["cub"], {}, "no method 'cub' of an exact size"),
        ([10], ["cube"], {"epochs": 5}, "epochs is a setting of gates"),
        ([10], ["cube"], {"device": "cuda"}, "is for gates alone"),
        ([121], ["random"], {}, "121 records are wanted and 120 of 120"),
        ([0], ["random"], {}, "0 records are wanted"),
    ],
)
def test_bad_input_gets_one_clear_line(sizes: list[int], methods: list[str], own: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        frontier(made(), sizes, methods, **own)
    assert "\n" not in str(caught.value)
