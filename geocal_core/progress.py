"""How a stage tells what it does: progress lines, numbers, check results and per-partition facts.

A stage speaks to a ``Reporter`` and does not know who listens: a terminal, the factory (through dagster-pipes), or a test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

Value = str | int | float | bool

_FACTS = 10  # of a check, on one line of the terminal; the factory is told all


class Reporter(Protocol):
    """Where a stage sends what it has to tell while it runs."""

    def progress(self, message: str) -> None:
        """One line on what is going on now."""

    def check(self, name: str, passed: bool, metadata: Mapping[str, Value] | None = None) -> None:
        """The result of a named check on the stage's output."""

    def partition(self, key: str, metadata: Mapping[str, Value]) -> None:
        """Facts on one partition of a partitioned output."""


class Silent:
    """A reporter that remembers what it was told; for tests and notebooks."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.checks: dict[str, bool] = {}
        self.partitions: dict[str, dict[str, Value]] = {}

    def progress(self, message: str) -> None:
        self.messages.append(message)

    def check(self, name: str, passed: bool, metadata: Mapping[str, Value] | None = None) -> None:
        self.checks[name] = passed

    def partition(self, key: str, metadata: Mapping[str, Value]) -> None:
        self.partitions[key] = dict(metadata)


class Terminal:
    """Writes lines with the seconds since the start to a text stream (standard error by default)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._start = time.monotonic()

    def _line(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:7.1f} s  {text}", file=self._stream, flush=True)

    def progress(self, message: str) -> None:
        self._line(message)

    def check(self, name: str, passed: bool, metadata: Mapping[str, Value] | None = None) -> None:
        told = [f"{key} {value}" for key, value in (metadata or {}).items()]
        facts = ", ".join(told[:_FACTS]) + (f", and {len(told) - _FACTS} more" if len(told) > _FACTS else "")
        self._line(f"check {name}: {'passed' if passed else 'FAILED'}{f' ({facts})' if facts else ''}")

    def partition(self, key: str, metadata: Mapping[str, Value]) -> None:
        del key, metadata  # a line for each of 488 areas would bury the rest; stages report their own progress


class Pipes:
    """Sends everything to the factory through an open dagster-pipes context."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def progress(self, message: str) -> None:
        self._context.log.info(message)

    def check(self, name: str, passed: bool, metadata: Mapping[str, Value] | None = None) -> None:
        self._context.report_custom_message({"check": name, "passed": bool(passed), "metadata": dict(metadata or {})})

    def partition(self, key: str, metadata: Mapping[str, Value]) -> None:
        self._context.report_custom_message({"partition": key, "metadata": dict(metadata)})
