"""The whole graph in one process of the factory, without a server: ``python -m geocal_dagster.demo``.

First everything up to the weights and the report, then the areas of the profile, each unbroken range of them as one run, just
as a backfill would. Stages that are current return at once. With ``DAGSTER_HOME`` set, the runs are kept there for the UI.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from geocal_core.errors import GeocalError, system_error
from geocal_core.places.catalogue import areas_in
from geocal_core.profiles import Profile, profile
from geocal_core.settings import RawSettings
from geocal_core.sources import left_out
from geocal_core.stages import STAGES
from geocal_core.store import Store, atomic
from geocal_dagster.definitions import build_defs
from geocal_dagster.partitions import range_tags, ranges
from geocal_dagster.resources import ArtifactStore
from geocal_dagster.terminal import stage_lines


@dataclass(frozen=True)
class Cost:
    """What it took to make an artifact: seconds, and the largest resident memory of a process in MB."""

    seconds: float
    peak_mb: float
    reused: bool

    def and_then(self, other: Cost) -> Cost:
        """The cost of both, one after the other."""
        return Cost(self.seconds + other.seconds, max(self.peak_mb, other.peak_mb), self.reused and other.reused)


def run(chosen: Profile, root: Path, resources: Mapping[str, object] | None = None) -> None:
    """Materialise the whole graph with the settings of a profile below a root, telling on standard error what goes on.

    Raises
    ------
    GeocalError
        If a stage fails; it names the stage.
    """
    store = ArtifactStore(root=str(root))
    defs = build_defs(
        profile=chosen,
        resources={"store": store, **(resources or {})},
        loggers={"terminal": stage_lines()},
        retry_policy=None,  # someone is watching: say at once what broke, and carry on when started again
    )
    job = defs.resolve_implicit_global_asset_job_def()
    home = os.environ.get("DAGSTER_HOME")
    costs: dict[str, Cost] = {}
    with dg.DagsterInstance.get() if home else dg.DagsterInstance.ephemeral() as instance:
        for selection, tags in _runs(chosen):
            result = job.execute_in_process(
                run_config={"loggers": {"terminal": {}}},
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in selection],
                tags=tags,
                raise_on_error=False,
            )
            for name, cost in _costs(result):
                costs[name] = costs[name].and_then(cost) if name in costs else cost
            _keep_costs(store.path("logs/timings.json"), costs)
            if not result.success:
                raise _failure(result)


def _runs(chosen: Profile) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Stages and tags of each run that the graph takes."""
    yield [stage.name for stage in STAGES.values() if not stage.partitioned], {}
    for first, last in ranges(area.key for area in areas_in(chosen.states)):
        yield [stage.name for stage in STAGES.values() if stage.partitioned], range_tags(first, last)


def _failure(result: dg.ExecuteInProcessResult) -> GeocalError | KeyboardInterrupt:
    """The first failure of a run as an error of one line; an interrupt, which Dagster makes a failure of, is one again."""
    failed = next(event for event in result.all_events if event.is_step_failure)
    data = failed.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return GeocalError(f"{failed.step_key}: {data.user_failure_data.description}")
    if data.error is None or data.error.cls_name == "DagsterExecutionInterruptedError":
        return KeyboardInterrupt()
    return GeocalError(f"{failed.step_key}: {data.error.message.strip().splitlines()[-1]}")


def _costs(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, Cost]]:
    """Names and costs of the stages of a run; a partitioned asset reports that of its batch on every partition."""
    for name in {event.step_key for event in result.get_asset_materialization_events()}:
        assert name is not None
        metadata = result.asset_materializations_for_node(name)[0].metadata
        facts: dict[str, Any] = {key.removeprefix("batch_"): value.value for key, value in metadata.items()}
        if {"seconds", "peak_mb"} <= set(facts):
            yield name, Cost(facts["seconds"], facts["peak_mb"], facts["reused"])


def _keep_costs(path: Path, costs: Mapping[str, Cost]) -> None:
    """Add to the table of costs; a stage that was reused keeps what it took to make it, where that is known."""
    known: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    known |= {name: asdict(cost) for name, cost in costs.items() if not (cost.reused and name in known)}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m geocal_dagster.demo", description="Materialise the whole graph.")
    parser.add_argument("--profile", default="demo", help="tiny (three states), demo (the nation, small) or full")
    parser.add_argument("--root", type=Path, default=Path("artifacts/demo"), help="where the artifacts go")
    parser.add_argument("--targets-from", type=Path, help="folder of published agency files to take the targets from")
    parsed = parser.parse_args(arguments)
    started = time.monotonic()
    warnings.simplefilter("ignore", dg.PreviewWarning)  # about the insides of Dagster's own Pipes
    try:
        root = Store(parsed.root).root
        root.mkdir(parents=True, exist_ok=True)
        chosen = profile(parsed.profile)
        if parsed.targets_from is not None:
            chosen = chosen.with_folder(str(parsed.targets_from.expanduser().resolve()))
            _tell_what_is_left_out(chosen)
        run(chosen, root)
    except GeocalError as error:
        print(f"geocal: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"geocal: error: {system_error(error)}", file=sys.stderr)
        return GeocalError.exit_code
    except KeyboardInterrupt:
        print("geocal: interrupted; run the same command again to carry on", file=sys.stderr)
        return 130
    _tell(root, time.monotonic() - started)
    return 0


def _tell_what_is_left_out(chosen: Profile) -> None:
    settings = chosen.stages[STAGES["target_db"].inputs[0]]
    assert isinstance(settings, RawSettings)
    for one in left_out(settings):
        tables = f"left out: {', '.join(one.tables)}" if one.tables else "nothing is left out for it"
        print(f"{one.file.name} ({one.file.description}) {one.why}; {tables}", file=sys.stderr)


def _tell(root: Path, seconds: float) -> None:
    areas = root / STAGES["area_h5"].output
    report = root / STAGES["report"].output
    print(f"\n{len(list(areas.rglob('*.h5')))} area files  {areas}")
    print(f"report of errors  {next(iter(sorted(report.glob('*.html'))), report)}")
    print(f"cost of each stage  {root / 'logs' / 'timings.json'}")
    print(f"done in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
