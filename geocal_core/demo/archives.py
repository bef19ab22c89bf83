"""Files of the demo as bytes that depend on nothing but their content: csv text and zip archives without the time of day."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

_EPOCH = (1980, 1, 1, 0, 0, 0)


def csv_text(columns: Mapping[str, np.ndarray]) -> str:
    """Columns as csv with a header and Unix line ends."""
    text: str = pd.DataFrame(dict(columns)).to_csv(index=False, lineterminator="\n")
    return text


def write_zip(target: Path | BytesIO, members: Mapping[str, bytes | str]) -> None:
    """Write a zip archive with its members in the given order, all dated 1 January 1980."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, compresslevel=6)
