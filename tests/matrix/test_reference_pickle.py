"""The reference's pickle is read without being loaded: whole files of pandas 2 and 3, and files made to do harm.

``reference/`` holds ``content()`` as pandas 2.3 with numpy 1.26 and pandas 3.1 with numpy 2.4 pickle it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix import reference_pickle
from geocal_core.matrix.reference_package import Reference, read_reference
from geocal_core.matrix.reference_pickle import read_records, write_pickle

STORED = sorted((Path(__file__).parent / "reference").glob("*.pkl"))


def content() -> dict[str, Any]:
    """A package of six columns (three households, two clones), as the reference lays it out."""
    national = [1, 2, 0, 1, 2, 3]
    matrix = np.array([national, [1, 0, 0, 1, 2, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 5.5, 0, 0], [0, 9.25, 0, 0, 0, 0]])
    targets = pd.DataFrame(
        {
            "target_id": [1, 2, 3, 4, 5],
            "stratum_id": [1, 2, 3, 4, 5],
            "variable": ["person_count", "person_count", "person_count", "snap", "salt_deduction"],
            "reform_id": [0, 0, 0, 0, 1],
            "value": [100.0, 50.0, 20.5, 7.5, 21.25e9],
            "period": [2024, 2024, 2024, 2023, 2024],
            "geo_level": ["national", "state", "district", "district", "national"],
            "geographic_id": ["US", "10", "1001", "1001", "US"],
            "domain_variable": [None, None, "age", "snap", None],
            "original_value": [100.0, 50.0, 20.5, 7.0, 21.25e9],
            "uprating_factor": [1.0, 1.0, 1.0, 1.05, 1.0],
        }
    )
    names = ["national/person_count/[]", "state_10/person_count/[]", "cd_1001/person_count/[age<5,age>-1]"]
    blocks = ["100010401001000", "560010401001000", "100010401001000", "100030401001001", "100030401001000", "560010401001000"]
    return {
        "X_sparse": sparse.csr_matrix(matrix.astype(np.float32)),
        "targets_df": targets,
        "target_names": [*names, "cd_1001/snap/[snap>0]", "national/salt_deduction_expenditure/[]"],
        "metadata": {"n_clones": 2, "n_records": 6, "base_n_records": 3, "seed": 42, "dataset_path": "a.h5", "git_dirty": None},
        "initial_weights": np.array([100.0, 150.5, 100.0, 90.0, 100.0, 100.0]),
        "cd_geoid": np.array(["1001", "5601", "1001", "1001", "1001", "5601"]),
        "block_geoid": np.array(blocks, dtype=object),
    }


def written(path: Path, value: Any, protocol: int = 5) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def check(reference: Reference) -> None:
    """It is ``content()``."""
    given = content()
    assert (reference.matrix != given["X_sparse"]).nnz == 0
    assert reference.matrix.dtype == np.float32
    found = reference.targets.drop(columns=["name", "place"]).astype({"domain_variable": object})
    expected = given["targets_df"].astype({"domain_variable": object})
    for column in expected:
        assert [None if value is None or value != value else value for value in found[column]] == [
            None if value is None or value != value else value for value in expected[column]
        ]
    assert reference.targets["name"].tolist() == given["target_names"]
    assert reference.targets["place"].tolist() == [0, 10, 1001, 1001, 0]
    assert reference.metadata == given["metadata"]
    assert reference.initial_weights.tolist() == given["initial_weights"].tolist()
    assert reference.district.tolist() == [1001, 5601, 1001, 1001, 1001, 5601]
    assert reference.block is not None
    assert [block.decode() for block in reference.block] == given["block_geoid"].tolist()
    assert (reference.n_records, reference.n_clones) == (3, 2)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_files_of_pandas_2_and_3_are_read(path: Path) -> None:
    check(read_reference(path))


def test_there_are_files_of_both() -> None:
    assert [path.stem for path in STORED] == [f"pandas{v}_protocol{p}" for v in (2, 3) for p in (2, 5)]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_the_installed_packages_write_is_read(tmp_path: Path, protocol: int) -> None:
    check(read_reference(written(tmp_path / "package.pkl", content(), protocol)))


def test_what_is_written_is_read_by_us_and_by_a_loader(tmp_path: Path) -> None:
    write_pickle(tmp_path / "package.pkl", content())
    check(read_reference(tmp_path / "package.pkl"))
    with (tmp_path / "package.pkl").open("rb") as stream:
        assert list(pickle.load(stream)) == list(content())


class Evil:
    """Asks to be made by a command that leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def in_a_cell(evil: Evil) -> dict[str, Any]:
    targets = content()["targets_df"].astype({"variable": object})
    targets.loc[1, "variable"] = evil
    return content() | {"targets_df": targets}


def as_names(evil: Evil) -> dict[str, Any]:
    names = np.empty(5, dtype=object)
    names[:] = [*content()["target_names"][:4], evil]
    return content() | {"target_names": names}


PLACES: dict[str, Callable[[Evil], Any]] = {
    "alone": lambda evil: evil,
    "an entry": lambda evil: content() | {"more": evil},
    "deep in metadata": lambda evil: content() | {"metadata": {"a": [{"b": (1, [evil])}]}},
    "a cell of the table": in_a_cell,
    "an array of objects": as_names,
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("place", PLACES)
def test_a_command_is_named_and_not_run(tmp_path: Path, place: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path / "evil.pkl", PLACES[place](Evil(marker)), protocol)
    with pytest.raises(
        ArtifactError, match=r"evil\.pkl names posix\.system, and only arrays, .* are read; nothing of it was run"
    ):
        read_reference(path)
    assert not marker.exists()


def calling(module: str, name: str) -> bytes:
    """A file that calls module.name with the text ``1``, as protocol 4 names it, dots and all."""
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + texts + b"\x93\x8c\x011\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("builtins", "print"),
        ("os", "system"),
        ("subprocess", "Popen"),
        ("copyreg", "_reconstructor"),
        ("pandas", "eval"),
        ("pandas", "read_pickle"),
        ("pandas", "DataFrame.eval"),
        ("pandas", "DataFrame.query"),
        ("pandas.core.frame", "DataFrame.eval"),
        ("pandas.core.frame", "sys.modules"),
        ("pandas.core.computation.eval", "eval"),
        ("pandas.io.pickle", "read_pickle"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "dtype.__class__"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("scipy.sparse._csr", "np.load"),
        ("pyarrow.lib", "memory_map"),
        ("functools", "partial"),
        ("numpy ndarray", ""),
    ],
)
def test_only_names_of_arrays_and_tables_are_admitted(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "named.pkl"
    path.write_bytes(calling(module, name))
    with pytest.raises(ArtifactError) as caught:
        read_reference(path)
    assert f"named.pkl names {module}.{name}, and only arrays" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04\x82\x01.", "the operation EXT1"),
        (b"\x80\x04(ios\nsystem\n.", "the operation INST"),
        (b"\x80\x04\x8c\x011Q.", "the operation BINPERSID"),
        (b"\x80\x05\x97.", "the operation NEXT_BUFFER"),
        (b"\x80\x04\x8c\x011)R.", "something is called that is no class or function"),
        (b"\x80\x04cnumpy\nndarray\n)R)R.", "something is called that is no class or function"),
        (b"\x80\x04cnumpy\nndarray\n}b.", "a state is given to what is no object"),
        (b"\x80\x04}(]K\x01u.", "a key of the type list"),
        (b"\x80\x04K\x01K\x02a.", "an element is added to what is no list"),
        (b"\x80\x04K\x01K\x02.", "too many values"),
        (b"\x80\x04h\x07.", "7"),
        (b"\x80\x04t.", "pop from empty list"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0f.", "bytes are wanted and 1 are left"),
        (b"\x80\x04B\xff\xff\xff\x7f.", "bytes are wanted and 1 are left"),
        (b"", "cut short, damaged or no pickle"),
        (b"PK\x03\x04 a zip", "cut short, damaged or no pickle"),
    ],
)
def test_files_that_are_no_package_are_told_in_a_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "odd.pkl"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_reference(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_in_memory_far_off_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "far.pkl").write_bytes(b"\x80\x04K\x01r\xff\xff\xff\xff.")
    assert read_records(tmp_path / "far.pkl") == 1


def test_lists_of_lists_that_grow_without_end_are_not_followed(tmp_path: Path) -> None:
    laugh: list[Any] = ["ha"]
    for _ in range(60):
        laugh = [laugh, laugh]
    path = written(tmp_path / "laughs.pkl", content() | {"metadata": {"n_clones": 2, "laugh": laugh}})
    with pytest.raises(ArtifactError, match="list stands where text or a number should"):
        read_reference(path)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_file_cut_short_anywhere_is_told_in_a_line(tmp_path: Path, path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "short.pkl").write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"short\.pkl is cut short, damaged or no pickle") as caught:
            read_reference(tmp_path / "short.pkl")
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "package.pkl"


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # by pickletools, of old text
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_told_and_nothing_else(place: Path, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(STORED)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    place.write_bytes(whole)
    try:
        reference = read_reference(place)
    except ArtifactError:
        return
    assert reference.matrix.shape == (5, 6)


def test_missing_and_too_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="there is no file"):
        read_reference(tmp_path / "gone.pkl")
    monkeypatch.setattr(reference_pickle, "_MOST_BYTES", 100)
    with pytest.raises(ArtifactError, match="and at most 0 are read"):
        read_reference(STORED[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial_weights": np.ones(5)}, "initial_weights has length 5 where the matrix has 6"),
        ({"cd_geoid": np.array(["1001"] * 7)}, "cd_geoid has length 7 where the matrix has 6"),
        ({"metadata": {"n_clones": 4}}, "6 columns are no whole number of 4 clones"),
        ({"metadata": {"seed": 4}}, "'n_clones'"),
        ({"initial_weights": np.array([1, 2, 3, 4, 5, np.nan])}, "not finite"),
        ({"target_names": ["national/person_count/[]"] * 5}, "two targets called national/person_count/"),
        ({"targets_df": content()["targets_df"].drop(columns="value")}, "its targets have no value"),
        ({"targets_df": content()["targets_df"].assign(geo_level="county")}, "a target is of the level 'county'"),
        ({"targets_df": content()["targets_df"].assign(period=pd.Timestamp("2024-01-01"))}, "names pandas"),
        ({"X_sparse": content()["X_sparse"].tocsc()}, r"names scipy\.sparse\._csc\.csc_matrix"),
        ({"X_sparse": np.ones((5, 6))}, "buffer stands where sparse matrix should"),
        ({"initial_weights": np.ones(6, dtype="M8[s]")}, "arrays of the type 'M8' are not read"),
        ({"cd_geoid": np.zeros(6, dtype=[("a", "i4")])}, "are not read"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        read_reference(written(tmp_path / "odd.pkl", content() | change))


def test_another_dict_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no calibration package; its entries are X_sparse, targets_df"):
        read_reference(written(tmp_path / "other.pkl", {"X_sparse": 1}))
