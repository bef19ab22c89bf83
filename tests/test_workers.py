"""The number of workers comes from the environment and is checked."""

from __future__ import annotations

import pytest

from geocal_core.errors import ConfigError
from geocal_core.workers import worker_count


def test_the_number_of_processes_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOCAL_WORKERS", "5")
    assert worker_count() == 5
    for wrong in ("none", "0", "-1", "1.5", ""):
        monkeypatch.setenv("GEOCAL_WORKERS", wrong)
        with pytest.raises(ConfigError, match=f"GEOCAL_WORKERS is '{wrong}'"):
            worker_count()
    monkeypatch.delenv("GEOCAL_WORKERS")
    assert worker_count() in (1, 2)
