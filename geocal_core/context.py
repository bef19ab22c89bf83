"""What the function of a stage is given: the verified artifacts it reads, its settings, and where it writes.

It knows nothing of the graph, so a stage can be written, and tried, without the registry of all stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geocal_core.progress import Reporter
from geocal_core.store import Store


@dataclass
class StageContext:
    """What a stage's function is given.

    Attributes
    ----------
    name : str
        Name of the stage.
    inputs : mapping of str to Path
        Input stage to its verified artifact.
    input_digests : mapping of str to str
        Input stage to the digest of that artifact.
    output : Path
        Temporary path to write the artifact (a file or a folder) to. A partitioned stage has no use for it.
    scratch : Path
        A folder for this very piece of work, which survives a killed run and is removed on success.
    settings : object
        The stage's settings.
    reporter : Reporter
    store : Store
    fingerprint : str
        sha256 of all that decides the content of the output.
    areas : tuple of str
        Keys of the wanted areas, for a partitioned stage.
    """

    name: str
    inputs: Mapping[str, Path]
    input_digests: Mapping[str, str]
    output: Path
    scratch: Path
    settings: Any
    reporter: Reporter
    store: Store
    fingerprint: str
    areas: tuple[str, ...] = ()
