"""What a stage is asked and what it answers, whatever machine it runs on.

A stage process answers with custom messages of dagster-pipes: one for each check, one for each partition, and a last one with
the result. The factory knows nothing else about a stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from geocal_core.progress import Value


@dataclass(frozen=True)
class StageRequest:
    """A stage to run.

    Attributes
    ----------
    stage : str
        Name of the stage.
    root : str
        Absolute root of the store.
    settings : mapping
        Its settings, JSON-able.
    areas : tuple of str
        Keys of the wanted areas, for a partitioned stage.
    """

    stage: str
    root: str
    settings: Mapping[str, Any]
    areas: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The arguments of geocal's command that run it."""
        config = {"root": self.root, "settings": dict(self.settings), "areas": list(self.areas)}
        return ["stage", self.stage, "--config", json.dumps(config, sort_keys=True)]


@dataclass(frozen=True)
class Check:
    """The result of a named check on the stage's artifact."""

    name: str
    passed: bool
    metadata: Mapping[str, Value]


@dataclass(frozen=True)
class StageReport:
    """What a stage that ended well has told.

    Attributes
    ----------
    digest : str
        sha256 of the artifact.
    reused : bool
        Whether the artifact was current, so that nothing was done.
    metadata : mapping
        Numbers of the artifact and what it cost to make.
    checks : mapping of str to Check
    partitions : mapping of str to mapping
        Facts on each area.
    """

    digest: str
    reused: bool
    metadata: Mapping[str, Value]
    checks: Mapping[str, Check]
    partitions: Mapping[str, Mapping[str, Value]]


class StageFailure(dg.Failure):
    """A stage that did not make its artifact, with the checks that it reported before it gave up."""

    def __init__(
        self, description: str, *, checks: Iterable[Check] = (), allow_retries: bool = True, **facts: int | str
    ) -> None:
        super().__init__(description, metadata=facts, allow_retries=allow_retries)
        self.checks = tuple(checks)


def checks_in(messages: Iterable[Mapping[str, Any]]) -> dict[str, Check]:
    """The checks that were reported, by name."""
    return {m["check"]: Check(m["check"], m["passed"], m["metadata"]) for m in messages if "check" in m}


def read_report(stage: str, messages: Iterable[Mapping[str, Any]]) -> StageReport:
    """The report that a stage's messages make up.

    Raises
    ------
    StageFailure
        If the stage ended without its result.
    """
    messages = list(messages)
    results = [m["result"] for m in messages if "result" in m]
    if not results:
        raise StageFailure(f"stage {stage} ended without reporting a result", allow_retries=False)
    return StageReport(
        digest=results[-1]["digest"],
        reused=results[-1]["reused"],
        metadata=results[-1]["metadata"],
        checks=checks_in(messages),
        partitions={m["partition"]: m["metadata"] for m in messages if "partition" in m},
    )
