"""``geocal package`` from the command line: what it prints, its exit status, and a line for every bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geocal_core.cli import main
from geocal_core.matrix.package import Package
from geocal_core.store import digest_path
from tests.matrix import small
from tests.matrix.test_reference_pickle import STORED

MATRIX = small.matrix_of(small.parts())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small.write_small(tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run an action of ``geocal package`` on the package; status, output and errors."""

    def running(action: str, *arguments: object, package: Path = folder) -> tuple[int, str, str]:
        status = main(["package", action, str(package), *map(str, arguments)])
        return status, *capsys.readouterr()

    return running


Run = Callable[..., tuple[int, str, str]]


def test_a_sound_package_is_told_with_what_it_cannot_reach(run: Run) -> None:
    status, out, _ = run("check")
    assert status == 0
    assert out.startswith("sound: 15 parts, ")
    assert "out of reach (1)" in out
    assert "state_10/spm_unit_count/[snap>0]" in out
    status, out, _ = run("check", "--strict")
    assert status == 1
    report = json.loads(run("check", "--format", "json", "--hardest", 4)[1])
    assert [row["name"] for row in report["unreachable"]] == ["state_10/spm_unit_count/[snap>0]"]
    assert report["unreachable"][0]["needed"] is None
    assert report["ratio"] == 100
    assert [(row["geo_level"], row["targets"], row["unsupported"]) for row in report["levels"]] == [
        ("national", 5, 0),
        ("state", 15, 1),
        ("district", 10, 0),
    ]
    needs = [row["needed"] for row in report["hardest"]]
    assert needs == sorted(needs, reverse=True)
    assert len(needs) == 4
    given = small.parts()
    start = MATRIX @ given["initial_weights"].astype(np.float64)
    with np.errstate(divide="ignore"):
        expected = given["targets"]["value"].to_numpy() / start
    assert needs[0] == pytest.approx(expected[np.isfinite(expected)].max(), rel=1e-6)


def test_strict_takes_the_ratio_that_weights_may_rise_by(folder: Path, run: Run, tmp_path: Path) -> None:
    reachable = small.parts()["targets"].assign(value=lambda table: MATRIX @ small.parts()["initial_weights"] * 3)
    small.write_small(tmp_path / "other", targets=reachable)
    assert run("check", "--strict", package=tmp_path / "other")[0] == 0
    assert run("check", "--strict", 4, package=tmp_path / "other")[0] == 0
    status, out, _ = run("check", "--strict", 2, "--hardest", 0, package=tmp_path / "other")
    assert status == 1
    assert "hardest" not in out
    with pytest.raises(SystemExit):
        run("check", "--strict", "-3")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial_weights": np.full(small.COLUMNS, np.nan)}, "150 starting weights are not finite"),
        ({"initial_weights": -np.ones(small.COLUMNS)}, "150 starting weights are below 0"),
        ({"household_id": np.zeros(small.RECORDS)}, "two households have one identifier"),
        ({"district": np.full(small.COLUMNS, 653)}, "columns lie in 1 districts that there are not, such as 653"),
        ({"county": np.full(small.COLUMNS, b"48001")}, "and in the county 48001 of another state"),
        ({"targets": small.parts()["targets"].assign(value=np.inf)}, "the target national/person_count/[] has no finite value"),
        ({"targets": small.parts()["targets"].assign(name="one")}, "two targets are called one"),
        ({"targets": small.parts()["targets"].assign(place=3)}, "is of the place 3, which there is not"),
        (
            {"targets": small.parts()["targets"].assign(place=6)},
            "the target national/person_count/[] is of CA and of the national US",
        ),
    ],
)
def test_a_package_that_makes_no_sense_is_damaged(tmp_path: Path, run: Run, changes: dict[str, Any], words: str) -> None:
    small.write_small(tmp_path / "odd", **changes)
    status, _, err = run("check", package=tmp_path / "odd")
    assert status == 2
    assert words in err
    assert "odd is damaged" in err


def test_values_that_are_not_finite_are_named(tmp_path: Path, run: Run) -> None:
    given = small.parts()
    data = given["variants"].data.copy()
    data[0] = np.nan
    object.__setattr__(given["variants"], "data", data)
    small.write_small(tmp_path / "odd", variants=given["variants"])
    status, _, err = run("check", package=tmp_path / "odd")
    assert status == 2
    assert "has the value nan in column" in err


def test_a_changed_byte_is_damage(folder: Path, run: Run) -> None:
    content = bytearray((folder / "variants/data.npy").read_bytes())
    content[-1] ^= 1
    (folder / "variants/data.npy").write_bytes(content)
    status, _, err = run("check")
    assert status == 2
    assert "data.npy is not the part that the manifest claims" in err


def test_show_tells_how_many_records_are_imputed_or_that_it_is_unknown(folder: Path, tmp_path: Path, run: Run) -> None:
    assert json.loads(run("show", "--format", "json")[1])["dimensions"]["n_imputed_records"] is None
    assert "an unknown number of the households with an imputed tax return" in run("show")[1]
    small.write_small(tmp_path / "told", imputed=np.arange(small.RECORDS) < 9)
    assert json.loads(run("show", "--format", "json", package=tmp_path / "told")[1])["dimensions"]["n_imputed_records"] == 9
    assert "\n9 of the households with an imputed tax return" in run("show", package=tmp_path / "told")[1]
    assert "sound: " in run("check", package=tmp_path / "told")[1]


def test_show_tells_parts_groups_targets_and_provenance(folder: Path, run: Run) -> None:
    held = json.loads(run("show", "--format", "json")[1])
    assert held["dimensions"]["n_columns"] == small.COLUMNS
    assert held["matrix"]["explicit_nonzeros"] == np.count_nonzero(MATRIX)
    assert held["parts"]["total"] == sum(path.stat().st_size for path in folder.rglob("*.*") if path.name != "manifest.json")
    assert [group["variables"] for group in held["groups"]] == [
        [],
        ["age"],
        ["income_tax", "tax_unit_is_filer"],
        ["snap"],
    ]
    assert [group["without"] for group in held["groups"]] == ["", "", "salt_deduction", ""]
    variants = Package.open(folder).variants
    assert [group["variants"] for group in held["groups"]] == np.diff(variants.first[:, [0, -1]])[:, 0].tolist()
    assert held["targets"]["by_level"] == {"national": 5, "state": 15, "district": 10}
    assert held["targets"]["without_support"] == 1
    assert held["provenance"] == {"year": 2024, "seed": 7, "engine": "none", "inputs": {"target_db": "ab" * 32}}
    text = run("show")[1]
    for words in (
        "30 targets of 5 quantities, 150 columns",
        "1,176 non-zeros",
        "income_tax, tax_unit_is_filer",
        "inputs.target_db",
    ):
        assert words in text


def test_a_trace_is_told_in_text_csv_and_json(run: Run) -> None:
    text = run("trace", "--row", "CA-01/snap/[]", "--limit", 2)[1]
    assert "snap in dollars of SPM units in California's 1st district" in text
    assert "Siskiyou County, CA" in text
    traced = json.loads(run("trace", "--row", 23, "--format", "json", "--limit", 0)[1])
    assert traced["estimate"] == pytest.approx(MATRIX[23] @ small.parts()["initial_weights"].astype(np.float64))
    rows = list(csv.DictReader(io.StringIO(run("trace", "--row", 23, "--format", "csv", "--limit", 0)[1])))
    assert [int(row["column"]) for row in rows] == [row["column"] for row in traced["columns"]]
    assert len(rows) == np.count_nonzero(MATRIX[23])


def test_a_household_is_traced_with_the_weights_of_a_fit(run: Run, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).random(small.COLUMNS)
    np.save(tmp_path / "weights.npy", weights)
    given = ("--household", 1007, "--clone", 2, "--weights", tmp_path / "weights.npy")
    traced = json.loads(run("trace", *given, "--format", "json")[1])
    column = 2 * small.RECORDS + 1
    assert traced["places"][0]["column"] == column
    assert {row["row"]: row["contribution"] for row in traced["rows"]} == {
        int(row): pytest.approx(MATRIX[row, column] * weights[column]) for row in np.flatnonzero(MATRIX[:, column])
    }
    assert json.loads(run("trace", "--column", column, "--format", "json")[1])["rows"][0]["row"] == traced["rows"][0]["row"]
    assert "New York County, NY" in run("trace", "--household", 1007)[1]


def test_import_and_export_go_there_and_back(run: Run, tmp_path: Path, folder: Path) -> None:
    status, out, _ = run("import", tmp_path / "imported", package=STORED[1])
    assert status == 0
    assert "5 targets of 4 quantities, 6 columns" in out
    assert run("check", package=tmp_path / "imported")[0] == 0
    status, out, _ = run("export", tmp_path / "out.pkl", "--reference")
    assert status == 0
    assert "warning: whoever loads this file runs what it asks for" in out
    assert "without census blocks" in out
    run("import", tmp_path / "again", "--year", 2025, package=tmp_path / "out.pkl")
    again = Package.open(tmp_path / "again")
    np.testing.assert_array_equal(again.matrix.tocsr().toarray(), MATRIX.astype(np.float32))
    assert again.year == 2025
    status, out, _ = run("export", tmp_path / "plain")
    assert (status, "warning" in out) == (0, False)
    assert not list((tmp_path / "plain").glob("*.pkl"))
    assert len(digest_path(tmp_path / "plain")) == 64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "{}/gone"), "gone is not a calibration package; give the folder that holds manifest.json"),
        (("check", "{}"), "is no calibration package: it has no manifest.json"),
        (("trace", "{}/package", "--row", "CA-01/snpa/[]"), "no row 'CA-01/snpa/[]'; near it are cd_601/snap/[]"),
        (("trace", "{}/package", "--row", "900"), "no row 900; rows are 0 to 29"),
        (("trace", "{}/package", "--column", "150"), "no column 150; columns are 0 to 149"),
        (("trace", "{}/package", "--household", "3"), "no household 3; near it are 1000, 1007, 1014"),
        (("trace", "{}/package", "--row", "1", "--clone", "1"), "--clone is of a household"),
        (("trace", "{}/package", "--row", "1", "--weights", "{}/gone.npy"), "there is no file of weights"),
        (("import", "{}/gone.pkl", "{}/new"), "there is no file"),
        (
            ("import", "{}/evil.pkl", "{}/new"),
            "evil.pkl names posix.system, and only arrays, sparse matrices and tables are read",
        ),
        (("import", "{}/evil.pkl", "{}/package"), "is there already"),
        (("export", "{}/package", "{}/package"), "is there already"),
        (("export", "{}/package", "{}/new", "--geography", "{}/evil.pkl"), "evil.pkl is no whole geography assignment"),
    ],
)
def test_bad_input_is_told_in_a_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    before = digest_path(folder)
    assert main(["package", *(argument.format(tmp_path) for argument in arguments)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "new").exists()
    assert digest_path(folder) == before


@pytest.mark.parametrize("given", [["export", "{p}", "{o}", "--reference"], ["export", "{p}", "{o}"], ["import", "{i}", "{o}"]])
def test_a_disk_that_fills_up_leaves_nothing(folder: Path, tmp_path: Path, given: list[str]) -> None:
    output = tmp_path / "there" / "output"
    filled = [part.format(p=folder, o=output, i=STORED[0]) for part in given]
    done = subprocess.run(
        [sys.executable, "-m", "geocal_core.cli", "package", *filled],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)),
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "File too large" in done.stderr
    assert list(output.parent.iterdir()) == []


def test_a_package_of_another_format_is_told(folder: Path, run: Run) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 2}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for action in ("check", "show"):
        status, _, err = run(action)
        assert status == 2
        assert "is of format 2, this version reads format 3" in err


def test_the_base_install_is_enough(folder: Path, tmp_path: Path) -> None:
    """Neither the engine nor the libraries of surveys and databases are imported."""
    code = (
        "import sys\nfrom geocal_core.cli import main\n"
        f"p = {str(folder)!r}\n"
        "for given in (['check', p], ['show', p], ['trace', p, '--row', '3'], ['trace', p, '--household', '1007'],\n"
        f"    ['export', p, {str(tmp_path / 'e.pkl')!r}, '--reference'], ['import', {str(tmp_path / 'e.pkl')!r}, p + '2']):\n"
        "    assert main(['package', *given]) == 0, given\n"
        "extras = {'policyengine_us', 'policyengine_core', 'h5py', 'sqlalchemy', 'dagster', 'sklearn', 'torch', 'yaml'}\n"
        "sys.exit(', '.join(sorted(extras & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
