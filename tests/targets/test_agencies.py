"""What every agency declares, whichever there are: files that can be told apart, and tables that read what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from geocal_core.errors import InputError
from geocal_core.profiles import profile
from geocal_core.settings import TargetSettings
from geocal_core.targets.figures import Scope
from geocal_core.targets.files import RawFiles
from geocal_core.targets.registry import published_files, tables, tables_of


def test_declared_files_are_described_and_told_apart() -> None:
    every = [file for files in published_files().values() for file in files]
    assert every
    for file in every:
        assert file.url.startswith("https://")
        assert file.description
        assert file.lookalike == "" or "?" in file.lookalike or "*" in file.lookalike
        assert set(file.tables) <= set(tables()), f"{file.name} names a table that does not exist"
    for files in published_files().values():
        assert len({file.key for file in files}) == len(files)


@pytest.mark.raw
def test_tables_read_the_files_that_say_so(raw_folder: Path) -> None:
    """Every file that a table reads is declared, with this table among those that cannot be read without it.

    But for files that need not be there: without them a table is read in another way.
    """
    settings = profile("demo").with_folder(str(raw_folder)).stages["target_db"]
    assert isinstance(settings, TargetSettings)
    raw, scope = RawFiles(raw_folder), Scope.of(settings.year, settings.states)
    declared = [(file, file.tables or tables_of(agency)) for agency, files in published_files().items() for file in files]
    for name, table in tables().items():
        if name in settings.without:
            with pytest.raises(InputError):
                table.read(raw, scope)
            continue
        table.read(raw, scope)
        for path in raw.take_used():
            if not path.is_relative_to(raw_folder):
                continue  # figures of this package, each with its publication
            of_file = [(file, needing) for file, needing in declared if file.matches(path.name)]
            assert of_file, f"{name} reads {path.name}, which no agency declares"
            assert any(name in needing or not file.needed for file, needing in of_file), f"{name} reads {path.name}"
