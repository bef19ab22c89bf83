"""Files as agencies publish them: what each is called, where it is to be had, and what must stand in it.

A declaration and no more; readers are in ``surveys/`` and ``targets/agencies/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class PublishedFile:
    """A file that an agency publishes.

    Attributes
    ----------
    name : str
        Published name; ``??`` stands for the two digits of a year, ``*`` for any text.
    description : str
        What it is.
    url : str
        Where the agency publishes it.
    lookalike : str
        Pattern of its siblings of other years or forms, to tell what was found in its place.
    needed : bool
        Whether a folder without it is refused at once. A later stage decides on the others.
    columns : tuple of str
        Columns or header texts that a reader looks for.
    """

    name: str
    description: str
    url: str
    lookalike: str = ""
    needed: bool = True
    columns: tuple[str, ...] = ()

    def matches(self, name: str) -> bool:
        """Whether a file's name is this file's."""
        return fnmatchcase(name, self.name)
