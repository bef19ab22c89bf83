"""The errors that geocal shows to its users.

Every error that a user can cause or mend is a ``GeocalError``: one line that says what is wrong, where, and what to do.
The command line prints that line and exits with a status other than 0; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class GeocalError(Exception):
    """Something is wrong that the user can mend.

    Parameters
    ----------
    what : str
        What is wrong, in one clause, naming the file, column or key.
    fix : str, optional
        What to do about it.
    each : sequence of str
        Where several things are wrong: a line for each, below the one line.
    """

    exit_code = 2

    def __init__(self, what: str, fix: str | None = None, each: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join((what if fix is None else f"{what}; {fix}", *each)))
        self.what = what
        self.fix = fix


class InputError(GeocalError):
    """A raw file is missing, truncated, of another year, or lacks what is needed from it."""


class ConfigError(GeocalError):
    """A setting, a name or a key is unknown or out of its range."""


class ArtifactError(GeocalError):
    """An artifact is missing, damaged, or not the one that its manifest or its user claims."""


def system_error(error: OSError) -> GeocalError:
    """What the operating system refuses, such as a full disk or a root that is a file, as an error of one line."""
    # h5py and pyarrow put the system's reason into the message and leave errno and filename empty.
    reason = error.strerror or str(error).splitlines()[0]
    where = f" ({error.filename})" if error.filename else ""
    return GeocalError(f"{reason}{where}", "free space or mend the path, then run again")
