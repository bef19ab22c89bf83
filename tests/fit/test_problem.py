from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.fit.objective import LossSettings
from geocal_core.fit.problem import problem
from tests.fit.conftest import matrix_and_targets

EYE = sparse.csr_matrix(np.eye(3, dtype=np.float32))


def _eye_with(value: float) -> sparse.csr_matrix:
    matrix = EYE.copy()
    matrix.data[1] = value
    return matrix


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((EYE, [1.0, 2.0]), "the matrix has 3 rows and there are 2 targets"),
        ((EYE, [1.0, np.nan, 2.0]), r"target target_1 \(row 1\) is nan"),
        ((EYE, [1.0, 2.0, -np.inf]), r"target target_2 \(row 2\) is -inf"),
        ((_eye_with(np.nan), [1.0, 2.0, 3.0]), r"the matrix has nan in row 1 \(target_1\), column 1"),
        ((_eye_with(np.inf), [1.0, 2.0, 3.0]), "the matrix has inf in row 1"),
        ((EYE, [1.0, 2.0, 3.0], [1.0, 1.0]), "3 columns and there are 2 starting weights"),
        ((EYE, [1.0, 2.0, 3.0], [1.0, -1.0, 1.0]), "the starting weight of column 1 is -1.0"),
        ((EYE, [1.0, 2.0, 3.0], [1.0, 1.0, np.nan]), "the starting weight of column 2 is nan"),
        ((EYE, [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), "all starting weights are 0"),
        ((EYE, [1.0, 2.0, 3.0], None, ["a"]), "3 targets and 1 names"),
        ((sparse.csr_matrix((3, 3)), [1.0, 2.0, 3.0]), "no target has a record"),
        ((EYE, [1.0, 2.0, 3.0], None, None, None, [0.0, 1.0]), "3 targets and 2 values of tolerance"),
        ((EYE, [1.0, 2.0, 3.0], None, None, None, [0.0, -1.0, np.nan]), r"the tolerance of target target_1 \(row 1\) is -1.0"),
        ((EYE, [1.0, 2.0, 3.0], None, None, None, None, [1.0, np.nan, 1.0]), "the importance of target target_1"),
        ((EYE, pd.DataFrame({"total": [1.0, 2.0, 3.0]})), "no column 'value'"),
    ],
)
def test_bad_inputs_are_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        problem(*arguments)


def test_rows_without_support_are_left_out() -> None:
    values = np.array([[1, 2], [0, 0], [0, 3]], dtype=np.float32)
    stored_zero = sparse.csr_matrix((np.array([1.0, 2.0, 0.0, 3.0]), [0, 1, 0, 1], [0, 2, 3, 4]), shape=(3, 2))
    for matrix in (values, sparse.csr_matrix(values), stored_zero):
        made = problem(matrix, [5.0, 6.0, 7.0], names=["a", "b", "c"])
        assert made.supported.tolist() == [True, False, True]
        assert made.target.tolist() == [5.0, 7.0]
        assert made.matrix.tocsr().toarray().tolist() == [[1, 2], [0, 3]]
        assert made.all_estimates(np.array([1.0, 2.0])).tolist() == [5.0, 0.0, 6.0]


def test_scales_are_of_the_target_or_of_the_start_for_zero() -> None:
    matrix = np.array([[2, -3], [2, -3], [1, 0]], dtype=np.float32)
    made = problem(matrix, [9.0, 0.0, -4.0], initial_weights=[10.0, 100.0])
    assert made.scale.tolist() == [9.0, 2 * 10 + 3 * 100, 4.0]
    assert made.loss(np.array([4.5, 320.0, 0.0])) == 0.25 + 1.0 + 1.0
    reference = problem(matrix, [9.0, 0.0, -4.0], initial_weights=[10.0, 100.0], loss=LossSettings(scale="reference"))
    assert reference.scale.tolist() == [10.0, 1 + 2 * 10 + 3 * 100, 5.0]
    floored = problem(matrix, [9.0, 0.0, -4.0], loss=LossSettings(floor=6.0))
    assert floored.scale.tolist() == [9.0, 6.0, 6.0]


def test_digest_tells_problems_apart() -> None:
    digests = problem(EYE, [1.0, 2.0, 3.0]).digests()
    assert digests == problem(EYE.copy(), np.array([1.0, 2.0, 3.0])).digests()
    others = [
        ("targets", problem(EYE, [1.0, 2.0, 4.0])),
        ("matrix", problem(_eye_with(2.0), [1.0, 2.0, 3.0])),
        ("starting weights", problem(EYE, [1.0, 2.0, 3.0], [1.0, 1.0, 2.0])),
        ("targets", problem(EYE, [1.0, 2.0, 3.0], names=["a", "b", "c"])),
        ("targets", problem(EYE, [1.0, 2.0, 3.0], tolerance=[0.0, 0.0, 0.1])),
        ("targets", problem(EYE, [1.0, 2.0, 3.0], importance=[1.0, 1.0, 2.0])),
        ("targets", problem(EYE, [1.0, 2.0, 3.0], loss=LossSettings(huber=1.0))),
    ]
    for what, other in others:
        assert [name for name, digest in other.digests().items() if digest != digests[name]] == [what]


def test_repeated_rows_count_once_with_the_largest_importance() -> None:
    values = np.array([[1, 2], [0, 3], [1, 2], [1, 2], [1, 2]], dtype=np.float32)
    made = problem(values, [5.0, 6.0, 5.0, 5.0, 7.0], importance=[0.0, 1.0, 2.0, 0.5, 3.0])
    assert made.repeats.tolist() == [-1, -1, 0, 0, -1]
    assert made.objective.importance.tolist() == [2.0, 1.0, 3.0]


def test_rows_that_are_held_out_lie_apart() -> None:
    values = np.array([[1, 2], [0, 0], [0, 3], [4, 0]], dtype=np.float32)
    made = problem(values, [5.0, 6.0, 0.0, 8.0], held_out=[False, True, True, False])
    assert made.matrix.tocsr().toarray().tolist() == [[1, 2], [4, 0]]
    assert made.held_matrix.tocsr().toarray().tolist() == [[0, 3]]
    assert made.target.tolist() == [5.0, 8.0]
    assert made.scale.tolist() == [5.0, 8.0]
    assert made.fitted.tolist() == [True, False, False, True]
    assert made.all_estimates(np.array([1.0, 10.0])).tolist() == [21.0, 0.0, 30.0, 4.0]
    assert made.digests() != problem(values, [5.0, 6.0, 0.0, 8.0]).digests()
    # A target of 0 is measured against its starting estimate, held out or not.
    assert made.held_loss(np.array([1.0, 10.0])) == (30.0 / 3.0) ** 2
    assert problem(values, [5.0, 6.0, 0.0, 8.0]).held_loss(np.array([1.0, 10.0])) == 0.0


def test_some_columns_alone_are_the_problem_of_their_own_matrix() -> None:
    matrix, targets = matrix_and_targets(9, 40)
    held = np.arange(9) > 6
    kept, weights = np.array([3, 4, 17, 39]), np.array([1.0, 5.0, 2.0, 3.0])
    part = problem(matrix, targets, held_out=held).of_columns(kept, weights)
    assert (part.matrix.tocsr() != matrix[:7, kept]).nnz == 0
    assert (part.held_matrix.tocsr() != matrix[7:, kept]).nnz == 0
    assert (part.initial_weights == weights).all()
    assert (part.target == targets[:7]).all()
    np.testing.assert_allclose(part.all_estimates(weights), matrix[:, kept].astype(np.float64) @ weights)


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        ([True, True, True], "no target that is not held out has a record with a non-zero value"),
        ([True, False], r"held_out is bool of shape \(2,\); give a truth value for each of 3 targets"),
        ([0, 1, 0], "held_out is int64"),
        (["no", "no", "yes"], "held_out is <U3"),
    ],
)
def test_a_mark_that_does_not_fit_is_refused(held_out: list[object], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        problem(EYE, [1.0, 2.0, 3.0], held_out=held_out)
