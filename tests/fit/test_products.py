from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.fit.cuts import differences
from geocal_core.fit.device import Device, open_device
from geocal_core.fit.products import Products, open_products
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.variants import Variants
from tests.matrix.test_factored import random_case

CPU, TENSORS = open_device("cpu", 1), Device("cpu", torch)


def _backward(products: Products, device: Device, values: NDArray[np.float64]) -> NDArray[np.float64]:
    coefficients = products.coefficients(device.put(values, "float64"))
    parts = [device.get(products.backward(block, coefficients)) for block in products.blocks]
    return np.concatenate(parts)


@pytest.mark.parametrize("device", [CPU, TENSORS], ids=["cpu", "tensors"])
@pytest.mark.parametrize("columns", [100, 32_768])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_those_of_scipy(wide: tuple[sparse.csr_matrix, NDArray], device: Device, columns: int, dtype: str) -> None:
    matrix = sparse.vstack([wide[0], sparse.csr_matrix((1, wide[0].shape[1]), dtype=np.float32)]).tocsr()
    rng = np.random.default_rng(1)
    weights, residual = rng.random(matrix.shape[1]), rng.normal(size=matrix.shape[0])
    products = open_products(FactoredMatrix.of(matrix, columns), device, dtype)
    exact = matrix.astype(np.float64)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert np.allclose(device.get(products.forward(device.put(weights, dtype))), exact @ weights, rtol=tolerance, atol=0)
    assert np.allclose(_backward(products, device, residual), exact.T @ residual, rtol=tolerance, atol=tolerance)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([4, 32_768]),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([CPU, TENSORS]),
    st.booleans(),
)
def test_factored_products_are_the_explicit_ones(seed: int, most: int, dtype: str, device: Device, usual: bool) -> None:
    """Within a millionth (float32) of the sum of absolute terms, at three levels, and adjoint; some tiles hold nothing."""
    case = random_case(seed)
    matrix, brute = case.in_tiles(most), case.brute().astype(np.float64)
    assume(matrix.atoms > 0)
    rng = np.random.default_rng(seed)
    weights, values = rng.lognormal(0, 2, brute.shape[1]), rng.normal(size=brute.shape[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geocal_core.fit.cuts._WORTH", 1e9 if usual else 0.0)
        products = open_products(matrix, device, dtype)
    forward = device.get(products.forward(device.put(weights[matrix.order], dtype)))
    backward = np.empty(len(weights))
    backward[matrix.order] = _backward(products, device, values)
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    size = _terms(matrix, brute) if usual else np.abs(brute)
    assert (np.abs(forward - brute @ weights) <= tolerance * (size @ weights)).all()
    assert (np.abs(backward - brute.T @ values) <= tolerance * (size.T @ np.abs(values))).all()
    assert abs(forward @ values - backward @ weights) <= tolerance * (np.abs(values) @ size @ weights)


def _terms(matrix: FactoredMatrix, brute: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value of the explicit matrix, the sizes of the usual value and of the difference that stand for it."""
    assert matrix.usual is not None
    inner = matrix.usual.of_columns(0, matrix.shape[1], matrix.sums.shape[1]).toarray().astype(np.float64)
    usual = np.empty_like(brute)
    usual[:, matrix.order] = matrix.sums @ inner
    return np.abs(usual) + np.abs(brute - usual)


def test_usual_values_are_used_where_they_pay() -> None:
    """A nation whose clones all show the same: no differences are left, and the products are exact to rounding."""
    rng = np.random.default_rng(0)
    n_records, n_clones, codes = 300, 400, np.arange(1001, 1011)
    pool = (rng.integers(1, 9, (12, n_records)) * (rng.random((12, n_records)) < 0.7)).astype(np.float32)
    values = sparse.csr_matrix(np.tile(pool, n_clones))
    variants = Variants.from_values(values, [list(range(12))], n_records, n_clones)
    places = np.tile(np.append([0, 10], codes), 12)
    district = rng.choice(codes, n_records * n_clones)
    matrix = FactoredMatrix.of_variants(variants, np.repeat(np.arange(12), 12), places, district)
    for device in (CPU, TENSORS):
        usual, tiles = differences(matrix, [(0, matrix.shape[1])], 0.0, device, "float32")
        assert usual is not None
        assert sum(tile.matrix.nnz for tile in tiles) == 0
        products = open_products(matrix, device)
        weights, residual = rng.random(matrix.shape[1]).astype(np.float32), rng.normal(size=matrix.shape[0])
        forward = device.get(products.forward(device.put(weights[matrix.order], "float32")))
        assert np.allclose(forward, matrix.matvec(weights), rtol=3e-6)
        wanted = matrix.rmatvec(residual)[matrix.order]
        assert np.allclose(_backward(products, device, residual), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    matrix = random_case(9).in_tiles(5)
    rng = np.random.default_rng(0)
    weights, values = rng.random(matrix.shape[1]).astype(np.float32), rng.random(matrix.shape[0])
    found = []
    for threads in (1, 2, 3):
        device = open_device("cpu", threads)
        with device.at_work():
            products = open_products(matrix, device)
            coefficients = products.coefficients(values)
            parts = device.each(partial(products.backward, coefficients=coefficients), products.blocks)
            found.append(products.forward(weights).tobytes() + np.concatenate(parts).tobytes())
    assert found[0] == found[1] == found[2]


def test_products_need_no_mkl(wide: tuple[sparse.csr_matrix, NDArray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geocal_core.fit.parts.MKL", False)
    monkeypatch.setattr("geocal_core.fit.tiles.MKL", False)
    ones, device = np.ones(wide[0].shape[1]), open_device("cpu", 2)
    products = open_products(FactoredMatrix.of(wide[0]), device, "float64")
    assert np.allclose(products.forward(ones), wide[0].astype(np.float64) @ ones, rtol=1e-12)
    assert np.allclose(_backward(products, device, wide[1]), wide[0].T.astype(np.float64) @ wide[1], rtol=1e-12)


@pytest.mark.parametrize("columns", [32_768, 3_000_000])
def test_long_rows_keep_their_digits(columns: int) -> None:
    n = 3_000_000
    weights = np.full(n, 0.1, np.float32)
    row = sparse.csr_matrix((np.ones(n, np.float32), np.arange(n), [0, n]), shape=(1, n))
    exact = weights.astype(np.float64).sum()
    one_by_one = float((row @ weights)[0])
    products = open_products(FactoredMatrix.of(row, columns), CPU)
    assert abs(products.forward(weights)[0] / exact - 1) < 2e-6
    assert abs(one_by_one / exact - 1) > 1e-5


def test_read_only_parts_are_taken() -> None:
    matrix = random_case(9).matrix
    for tile in matrix.tiles:
        for part in (tile.matrix.data, tile.matrix.indices, tile.matrix.indptr):
            part.flags.writeable = False
    ones = np.ones(matrix.shape[1])
    assert np.allclose(open_products(matrix, CPU).forward(ones.astype(np.float32)), matrix.estimates(ones), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "threads", "words"),
    [
        ("tpu", None, "no device 'tpu'"),
        ("cuda:x", None, "no device 'cuda:x'"),
        ("cpu", 0, "threads is 0"),
    ],
)
def test_bad_devices_are_refused(name: str, threads: int | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_device(name, threads)


def test_cuda_without_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'cuda' was asked for and torch finds no CUDA; use device cpu"):
        open_device("cuda")


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert open_device("cuda").xp is torch
    with pytest.raises(ConfigError, match="'cuda:3' was asked for and torch finds 1 GPUs"):
        open_device("cuda:3")


def test_threads_of_torch_rest_only_while_a_fit_works() -> None:
    before = torch.get_num_threads()
    device = open_device("cpu", 2)
    with device.at_work():
        assert torch.get_num_threads() == 1
        assert device.each(lambda x: x * x, range(50)) == [x * x for x in range(50)]
    assert torch.get_num_threads() == before
