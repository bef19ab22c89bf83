"""A logger that shows a run to people at a terminal: a line for what each stage says, and nothing of Dagster's own."""

from __future__ import annotations

import logging
import sys
import time

import dagster as dg

# How Dagster's own messages begin among those that stages and assets send.
_NOT_OURS = ("[pipes]", "Dependencies for step ")


class StageLines(logging.Handler):
    """Prints ``seconds since the start, stage, message`` for every message that comes from a stage or its asset."""

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._start = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        facts = getattr(record, "dagster_meta", None)
        if facts is None or facts["dagster_event"] is not None or facts["step_key"] is None:
            return
        if facts["orig_message"].startswith(_NOT_OURS):
            return
        seconds = time.monotonic() - self._start
        print(f"{seconds:7.1f} s  {facts['step_key']:20s} {facts['orig_message']}", file=sys.stderr, flush=True)


def stage_lines() -> dg.LoggerDefinition:
    """The logger, with one clock for all the runs that it sees."""
    handler = StageLines()

    @dg.logger(None, description="A line for what each stage says.")
    def terminal(_context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("geocal.terminal", logging.INFO)
        logger.addHandler(handler)
        return logger

    return terminal
