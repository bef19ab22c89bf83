from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.fit.device import Device, open_device
from geocal_core.fit.products import Products

TENSORS = Device("cpu", torch, block=0)


def _backward(products: Products, device: Device, values: NDArray[np.float64]) -> NDArray[np.float64]:
    coefficients = products.coefficients(values)
    parts = [device.get(products.backward(block, coefficients)) for block in device.blocks(products.shape[1])]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "device", [open_device("cpu", 1), Device("cpu", np, block=100), TENSORS], ids=["cpu", "blocks", "tensors"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_those_of_scipy(wide: tuple[sparse.csr_matrix, NDArray], device: Device, dtype: str) -> None:
    matrix = sparse.vstack([wide[0], sparse.csr_matrix((1, wide[0].shape[1]), dtype=np.float32)]).tocsr()
    rng = np.random.default_rng(1)
    weights, residual = rng.random(matrix.shape[1]), rng.normal(size=matrix.shape[0])
    products = Products(matrix, device, dtype)
    exact = matrix.astype(np.float64)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert np.allclose(products.forward(device.put(weights, dtype)), exact @ weights, rtol=tolerance, atol=0)
    assert np.allclose(_backward(products, device, residual), exact.T @ residual, rtol=tolerance, atol=tolerance)


def test_products_need_no_mkl(wide: tuple[sparse.csr_matrix, NDArray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geocal_core.fit.products._MKL", False)
    ones, device = np.ones(wide[0].shape[1]), open_device("cpu", 2)
    products = Products(wide[0], device, "float64")
    assert np.allclose(products.forward(ones), wide[0].astype(np.float64) @ ones, rtol=1e-12)
    assert np.allclose(_backward(products, device, wide[1]), wide[0].T.astype(np.float64) @ wide[1], rtol=1e-12)


def test_long_rows_keep_their_digits() -> None:
    n = 3_000_000
    weights = np.full(n, 0.1, np.float32)
    row = sparse.csr_matrix((np.ones(n, np.float32), np.arange(n), [0, n]), shape=(1, n))
    exact = weights.astype(np.float64).sum()
    one_by_one = float((row @ weights)[0])
    assert abs(Products(row, open_device("cpu", 1)).forward(weights)[0] / exact - 1) < 2e-6
    assert abs(one_by_one / exact - 1) > 1e-5


def test_read_only_parts_are_taken(wide: tuple[sparse.csr_matrix, NDArray]) -> None:
    matrix = wide[0].copy()
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.flags.writeable = False
    ones = np.ones(matrix.shape[1], np.float32)
    assert np.allclose(
        Products(matrix, open_device("cpu", 1)).forward(ones), matrix.astype(np.float64).sum(axis=1).A1, rtol=1e-5
    )


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
