"""The ``geocal`` command.

Thin: it reads arguments, calls one function of the science or starts the factory, and prints. A ``GeocalError`` becomes one
line on standard error and exit status 2; anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geocal_core import __version__
from geocal_core.errors import ConfigError, GeocalError, system_error
from geocal_core.fit_command import add_parser as add_fit
from geocal_core.matrix.command import add_parser as add_package
from geocal_core.profiles import profile
from geocal_core.progress import Pipes, Reporter, Terminal
from geocal_core.running import StageResult, run_stage
from geocal_core.settings import from_config
from geocal_core.stages import STAGES, stage_named
from geocal_core.store import Store
from geocal_core.targets.command import add_parser as add_targets


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without Unicode shows escapes instead
        sys.stdout.reconfigure(errors="backslashreplace")
    parsed = _parser().parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        print(end="", flush=True)
        return status
    except BrokenPipeError:  # who reads, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except GeocalError as error:
        print(f"geocal: error: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("geocal_core", "geocal_dagster"):
            raise
        print(f"geocal: error: this needs the package {error.name}; pip install 'geocal[dagster,simulate]'", file=sys.stderr)
        return GeocalError.exit_code
    except OSError as error:
        print(f"geocal: error: {system_error(error)}", file=sys.stderr)
        return GeocalError.exit_code
    except MemoryError as error:
        print(f"geocal: error: out of memory ({error}); lower clones or households, or use a larger machine", file=sys.stderr)
        return GeocalError.exit_code
    except KeyboardInterrupt:
        print("geocal: interrupted; run the same command again to carry on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="geocal", description="Calibrated microsimulation datasets for the United States.")
    parser.add_argument("--version", action="version", version=f"geocal {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="materialise the whole graph on the demo nation, or make its figures again")
    demo.add_argument("action", nargs="?", choices=("run", "build"), default="run")
    demo.add_argument("--profile", default="demo", help="tiny (three states), demo (the nation, small) or full")
    demo.add_argument("--root", type=Path, default=Path("artifacts/demo"), help="where the artifacts go")
    demo.add_argument("--targets-from", type=Path, help="folder of published agency files to take the targets from")
    demo.add_argument("--output", type=Path, help="with build: folder for the demo nation's figures")
    demo.set_defaults(run=_demo)

    stage = commands.add_parser("stage", help="run one stage of the graph")
    stage.add_argument("name", metavar="NAME", help=", ".join(STAGES))
    stage.add_argument("--config", required=True, help='JSON file or inline JSON: {"root": …, "settings": {…}, "areas": […]}')
    stage.set_defaults(run=_stage)

    add_targets(commands)
    add_package(commands)

    add_fit(commands)

    areas = commands.add_parser("areas", help="the catalogue of areas and their files")
    actions = areas.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="keys and names of the areas")
    listing.set_defaults(run=_areas_list)
    validate = actions.add_parser("validate", help="simulate area files and compare with the calibrated totals")
    validate.add_argument("areas", nargs="+", metavar="AREA", help="keys, or CA* for a state and its districts")
    validate.add_argument("--root", type=Path, default=Path("artifacts/demo"))
    validate.set_defaults(run=_areas_validate)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.action == "build":
        from geocal_core.demo.truth import build

        if arguments.output is None:
            raise ConfigError("demo build needs a folder to write to", "give --output FOLDER")
        arguments.output.mkdir(parents=True, exist_ok=True)
        build(arguments.output, Terminal())
        return 0
    profile(arguments.profile)
    if importlib.util.find_spec("dagster") is None:
        raise ConfigError(
            "the demo is materialised by Dagster, which is not installed", "pip install 'geocal[dagster,simulate]'"
        )
    command = [sys.executable, "-m", "geocal_dagster.demo", "--profile", arguments.profile, "--root", str(arguments.root)]
    if arguments.targets_from is not None:
        if not arguments.targets_from.is_dir():
            raise ConfigError(f"{arguments.targets_from} is not a folder", "give the folder of published agency files")
        command += ["--targets-from", str(arguments.targets_from)]
    return subprocess.run(command, check=False).returncode


def _stage(arguments: argparse.Namespace) -> int:
    stage = stage_named(arguments.name)
    config = _config(arguments.config)
    settings: Any = from_config(stage.settings, config.get("settings", {}))
    areas = tuple(config.get("areas", ()))
    if areas and not stage.partitioned:
        raise ConfigError(f"stage {stage.name} is not made by areas", "leave areas out of the configuration")
    with _reporter() as (reporter, finish):
        result = run_stage(stage.name, settings, Store(config["root"]), reporter, areas)
        finish(result)
    return 0


def _config(text: str) -> dict[str, Any]:
    """The stage's configuration, from inline JSON or from a file."""
    try:
        config = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"the configuration {text} does not exist", "give a JSON file or inline JSON") from error
    except ValueError as error:
        raise ConfigError(f"the configuration {text[:80]!r} is not JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("root"), str):
        raise ConfigError("the configuration names no root", 'give {"root": "FOLDER", "settings": {…}}')
    unknown = sorted(set(config) - {"root", "settings", "areas"})
    if unknown:
        raise ConfigError(f"the configuration has no entry {unknown[0]!r}", "its entries are root, settings and areas")
    if not isinstance(config.get("settings", {}), dict):
        raise ConfigError("settings of the configuration are no object", 'give {"NAME": VALUE, …}')
    areas = config.get("areas", [])
    if not isinstance(areas, list) or not all(isinstance(key, str) for key in areas):
        raise ConfigError("areas of the configuration are no list of keys", 'give ["CA", "CA-12"], or leave them out')
    return config


@contextmanager
def _reporter() -> Iterator[tuple[Reporter, Any]]:
    """A reporter to the factory when it launched this process, else to the terminal."""
    if "DAGSTER_PIPES_CONTEXT" in os.environ:
        from dagster_pipes import open_dagster_pipes

        with open_dagster_pipes() as pipes:

            def send(result: StageResult) -> None:
                body = {"digest": result.digest, "reused": result.reused, "metadata": dict(result.metadata)}
                pipes.report_custom_message({"result": body})

            yield Pipes(pipes), send
    else:
        terminal = Terminal()

        def say(result: StageResult) -> None:
            facts = ", ".join(f"{key} {value}" for key, value in result.metadata.items() if "\n" not in str(value))
            terminal.progress(f"{'reused' if result.reused else 'made'} {result.digest[:12]}: {facts}")

        yield terminal, say


def _areas_list(arguments: argparse.Namespace) -> int:
    del arguments
    from geocal_core.places.catalogue import catalogue

    areas = catalogue()
    widths = [max(len(text) for text in texts) for texts in ((one.key for one in areas), (one.level for one in areas))]
    for one in areas:
        print(f"{one.key:{widths[0]}s}  {one.level:{widths[1]}s}  {one.name}")
    return 0


def _areas_validate(arguments: argparse.Namespace) -> int:
    from geocal_core.places.catalogue import area_keys_matching

    keys = area_keys_matching(tuple(arguments.areas))
    from geocal_core.areas.validation import validate_areas

    worst = validate_areas(Store(arguments.root), keys, Terminal())
    return 0 if worst.passed else 1


if __name__ == "__main__":
    sys.exit(main())
