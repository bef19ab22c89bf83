"""The state of a fit on disk: one ``.npz`` without pickle, replaced as a whole, which refuses to continue another fit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError
from geocal_core.store import atomic, canonical_json

_FORMAT = 3  # 1 kept the estimates of the fitted targets alone; 2 all columns, and no best weights

Arrays = dict[str, NDArray[Any]]


@dataclass
class Checkpoint:
    """What a fit needs to go on.

    Attributes
    ----------
    identity : mapping
        What must be the same for a fit to go on from here: digests of matrix, targets and starting weights, hyper-parameters,
        seed, kind of device.
        The random state is the seed with the epoch, because the noise is a function of both.
    progress : dict
        Numbers: epochs done, loss, length of the refit that is wanted, and whether the fit is finished.
    gated : dict of arrays
        Parameters and moments of the gated fit.
    refit : dict of arrays
        State of the refit; empty before and after it.
    log : dict of arrays
        Epochs that were logged, the estimates at them, and the weights of the best of these epochs.
    weights : ndarray
        Final weights; empty before the end.
    """

    identity: Mapping[str, Any]
    progress: dict[str, Any]
    gated: Arrays
    refit: Arrays = field(default_factory=dict)
    log: Arrays = field(default_factory=dict)
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def save(self, path: Path) -> None:
        """Write it to a file, which is never seen half-written; the same state gives the same bytes."""
        groups = {"gated": self.gated, "refit": self.refit, "log": self.log}
        arrays = {f"{group}.{name}": array for group, members in groups.items() for name, array in members.items()}
        write(path, self.identity, self.progress, {"weights": self.weights, **arrays})


def write(path: Path, identity: Mapping[str, Any], progress: Mapping[str, Any], arrays: Arrays) -> None:
    """Write numbers and arrays of a fit to a file, which is never seen half-written; equal ones give equal bytes."""
    header = canonical_json({"format": _FORMAT, "identity": dict(identity), "progress": dict(progress)})
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, header=np.array(header), **arrays)  # type: ignore[arg-type]


def read(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Numbers and arrays of a fit, which must be the fit ``identity``.

    Raises
    ------
    ArtifactError
        If the file is damaged or no checkpoint, or belongs to another fit: the message says what differs.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != _FORMAT:
            raise ArtifactError(f"the checkpoint {path} has format {header['format']}", "delete it and fit again")
        found, progress = header["identity"], header["progress"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"the checkpoint {path} cannot be read ({error})", "delete it and fit again") from error
    differences = [
        f"{key} (there {_short(found.get(key))}, here {_short(identity.get(key))})"
        for key in sorted({*found, *identity})
        if found.get(key) != identity.get(key)
    ]
    if differences:
        raise ArtifactError(
            f"the checkpoint {path} belongs to another fit: {', '.join(differences)} differs",
            "give another checkpoint file, or delete this one",
        )
    return progress, arrays


def load(path: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of a gated fit; errors as ``read``."""
    progress, arrays = read(path, identity)
    groups: dict[str, Arrays] = {"gated": {}, "refit": {}, "log": {}}
    weights = arrays.pop("weights")
    for name, array in arrays.items():
        group, _, member = name.partition(".")
        groups[group][member] = array
    return Checkpoint(identity, progress, groups["gated"], groups["refit"], groups["log"], weights)


def _short(value: Any) -> str:
    """A setting, or the beginning of a digest."""
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
