"""Quicker look-ups of the engine's parameters by a key that is the same for everybody, such as the state's code.

The engine sorts the key's texts at every look-up to find the distinct ones: a third of the time that copies of households in
one state take. A key of one value is looked up once and the answer repeated; a key of numbers is made text once for each
distinct number. What comes out is what the engine itself gives (a test compares them).
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

import numpy as np

_WORTH_IT = 1_000  # shorter keys are looked up as quickly by the engine


@cache
def quicken() -> None:
    """Let every simulation of this process look up so, from now on."""
    from policyengine_core.parameters.vectorial_parameter_node_at_instant import VectorialParameterNodeAtInstant as Node

    look_up = Node.__getitem__

    @wraps(look_up)
    def quick_look_up(node: Any, key: Any) -> Any:
        if type(key) is not np.ndarray or key.ndim != 1 or len(key) < _WORTH_IT:
            return look_up(node, key)
        if key.dtype.kind in "iu":
            distinct, inverse = np.unique(key, return_inverse=True)
            return look_up(node, distinct.astype(str)[inverse])
        if len(node.vector) == 1 and _is_one_value(key):
            found = look_up(node, key[:1])
            if isinstance(found, Node):
                return Node(found._name, np.broadcast_to(found.vector, key.shape, subok=True), found._instant_str)
            return np.repeat(found, len(key))
        return look_up(node, key)

    Node.__getitem__ = quick_look_up


def _is_one_value(key: Any) -> bool:
    """Whether all values are equal; of objects, a list tells sooner than an array."""
    if key.dtype == object:
        return key.tolist().count(key[0]) == len(key)
    return bool((key == key[0]).all())
