"""Stages as processes of the same machine.

Dagster's own ``PipesSubprocessClient`` does not keep what a process prints, and geocal's commands tell in their last line what
is wrong and what to do. So the process is started here, inside a Pipes session of Dagster's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

import dagster as dg

from geocal_core.errors import GeocalError
from geocal_dagster.compute.report import Check, StageFailure, StageReport, StageRequest, checks_in, read_report

ERROR_PREFIX = "geocal: error: "

# A stage that is told to stop finishes the file it is writing; after this many seconds it is ended.
_PATIENCE_S = 20.0

# Lines of a stage's standard error that are kept with its failure.
_TAIL = 60


def run_locally(context: dg.AssetExecutionContext, command: list[str], request: StageRequest) -> StageReport:
    """Run a stage's command as a process of this machine, passing on its progress, and read its report.

    The process inherits the environment. It leads a process group of its own, which is ended as a whole: when the run is
    cancelled, and when the stage was killed and its workers were not.

    Raises
    ------
    StageFailure
        With the stage's own error line, not to be retried, if it refused; or to be retried, if it broke down or was killed.
    """
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        process = subprocess.Popen(
            [*command, *request.arguments()],
            env=os.environ | dict(session.get_bootstrap_env_vars()),
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stderr is not None
        last_lines: deque[str] = deque(maxlen=_TAIL)
        listener = threading.Thread(target=_pass_on, args=(process.stderr, last_lines), daemon=True)
        listener.start()
        try:
            process.wait()
        finally:
            _end_group(process)
            listener.join(timeout=5)
    messages = session.get_custom_messages()
    if process.returncode != 0:
        raise _failure(request.stage, process.returncode, list(last_lines), checks_in(messages).values())
    return read_report(request.stage, messages)


def _pass_on(stream: IO[str], last_lines: deque[str]) -> None:
    """Copy what a stage prints to our own standard error, which Dagster keeps; the error line becomes the failure instead."""
    for line in stream:
        last_lines.append(line.rstrip("\n"))
        if not line.startswith(ERROR_PREFIX):
            sys.stderr.write(line)


def _end_group(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_PATIENCE_S)
    if process.returncode != 0:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(stage: str, code: int, last_lines: list[str], checks: Iterable[Check]) -> StageFailure:
    errors = [line.removeprefix(ERROR_PREFIX) for line in last_lines if line.startswith(ERROR_PREFIX)]
    refused = code == GeocalError.exit_code and bool(errors)
    if refused:
        reason = errors[-1]
    elif code < 0:
        name = signal.Signals(-code).name
        reason = (
            f"stage {stage} was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}; run it again: it carries on"
        )
    else:
        said = next((line for line in reversed(last_lines) if line.strip()), "no message")
        reason = f"stage {stage} broke down with exit code {code}: {said}"
    return StageFailure(reason, checks=checks, allow_retries=not refused, exit_code=code, last_lines="\n".join(last_lines))
