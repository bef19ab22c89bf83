"""What a reporter writes to the terminal."""

from __future__ import annotations

import io

from geocal_core.progress import Terminal


def test_a_check_is_one_line_however_many_facts_it_has() -> None:
    stream = io.StringIO()
    Terminal(stream).check("targets_counts", True, {f"family {i}": i for i in range(200)})
    Terminal(stream).check("weights_valid", False, {"error": "a weight is below zero"})
    first, second = stream.getvalue().splitlines()
    assert first.endswith("family 8 8, family 9 9, and 190 more)")
    assert second.endswith("check weights_valid: FAILED (error a weight is below zero)")
