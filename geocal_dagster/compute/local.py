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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import IO, Any

import dagster as dg

from geocal_core.errors import GeocalError
from geocal_dagster.compute.report import StageReport, StageRequest, checks_in, read_report

ERROR_PREFIX = "geocal: error: "

# A stage that is told to stop finishes the file it is writing; after this many seconds it is ended.
_PATIENCE_S = 20.0


def run_locally(context: dg.AssetExecutionContext, command: list[str], request: StageRequest) -> StageReport:
    """Run a stage's command as a process of this machine, passing on its progress, and read its report.

    The process inherits the environment. It leads a process group of its own, which is ended as a whole: when the run is
    cancelled, and when the stage was killed and its workers were not.

    Raises
    ------
    dagster.Failure
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
        last_lines: deque[str] = deque(maxlen=200)
        listener = threading.Thread(target=_pass_on, args=(process.stderr, last_lines), daemon=True)
        listener.start()
        try:
            process.wait()
        finally:
            _end_group(process)
            listener.join(timeout=5)
    messages = session.get_custom_messages()
    if process.returncode != 0:
        _log_failed_checks(context, request.stage, messages)
        raise _failure(request.stage, process.returncode, list(last_lines))
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


def _log_failed_checks(context: dg.AssetExecutionContext, stage: str, messages: Iterable[Mapping[str, Any]]) -> None:
    """Show the checks for which a stage gave up as failed checks of its asset, although there is no artifact."""
    declared = {spec.name for spec in context.assets_def.check_specs}
    for check in checks_in(messages).values():
        if not check.passed and check.name in declared:
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(stage), check_name=check.name, passed=False, metadata=dict(check.metadata)
            )
            context.op_execution_context.log_event(evaluation)  # type: ignore[arg-type]  # accepted, not declared


def _failure(stage: str, code: int, last_lines: list[str]) -> dg.Failure:
    errors = [line.removeprefix(ERROR_PREFIX) for line in last_lines if line.startswith(ERROR_PREFIX)]
    facts: dict[str, int | dg.MarkdownMetadataValue] = {
        "exit_code": code,
        "last_lines": dg.MetadataValue.md("```\n" + "\n".join(last_lines[-40:]) + "\n```"),
    }
    if code == GeocalError.exit_code and errors:
        return dg.Failure(errors[-1], metadata={**facts}, allow_retries=False)
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return dg.Failure(f"stage {stage} was killed by {name}{hint}; run it again: it carries on", metadata={**facts})
    said = next((line for line in reversed(last_lines) if line.strip()), "no message")
    return dg.Failure(f"stage {stage} broke down with exit code {code}: {said}", metadata={**facts})
