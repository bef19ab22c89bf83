"""``geocal fit``, ``frontier`` and ``rake``: weights for a saved package, what each size of it costs, what stands in the way.

Parsers and printing; beside the package ``fit`` and not in it, because that one loads torch.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.progress import Terminal
from geocal_core.settings import FitSettings
from geocal_core.store import atomic, remove

_METHODS = ("cube", "pps", "gates", "random")
_DEFAULT = FitSettings()

# Of the gated fit alone: flags and their settings.
_OF_GATES = {
    "preset": "preset",
    "epochs": "epochs",
    "log_freq": "log_every",
    "lambda_l0": "lambda_l0",
    "lambda_share": "lambda_share",
    "lambda_l2": "lambda_l2",
    "beta": "beta",
    "learning_rate": "learning_rate",
}


def add_parser(commands: Any) -> None:
    """Add the commands to the parsers of the command line."""
    fit = commands.add_parser("fit", help="fit weights to a saved calibration package")
    _add_problem(fit, "folder for weights, diagnostics and checkpoint")
    exactly = "keep exactly N columns, without a search over lambda: dense weights, a selection, and a polish of what is kept"
    fit.add_argument("--records", type=int, metavar="N", help=exactly)
    how = f"with --records: cube (a balanced sample), pps, gates or random ({_DEFAULT.method})"
    fit.add_argument("--method", choices=_METHODS, help=how)
    fit.add_argument("--refit-epochs", type=int, help=f"most iterations of the refit of what is kept ({_DEFAULT.refit_epochs})")
    fit.add_argument("--start-from", default="", metavar="WEIGHTS", help="weights of an earlier fit, when targets have changed")
    fit.add_argument("--resume-from", type=Path, metavar="CHECKPOINT", help="checkpoint, or the weights or folder beside it")
    fit.add_argument("--checkpoint-output", type=Path, metavar="FILE", help="where the state is kept while the fit runs")
    _add_gates(fit)
    fit.set_defaults(run=_fit)

    frontier = commands.add_parser("frontier", help="what each size of a file costs in loss and effective sample size")
    _add_problem(frontier, "folder for table, JSON, Markdown and plot")
    frontier.add_argument("--sizes", type=int, nargs="+", required=True, metavar="N", help="numbers of columns to keep")
    compared = f"of {', '.join(_METHODS)} (cube pps)"
    frontier.add_argument("--methods", nargs="+", choices=_METHODS, default=["cube", "pps"], metavar="METHOD", help=compared)
    _add_gates(frontier)
    frontier.set_defaults(run=_frontier)

    rake = commands.add_parser("rake", help="the dense reference: all records, how near they can come, and which targets fight")
    _add_problem(rake, "folder for weights, certificate, shadow prices and conflicts")
    rake.add_argument("--price", type=float, default=10.0, help="of a loss of 1, in units of a mean distance of 1 (10)")
    rake.add_argument(
        "--bounds", type=float, nargs=2, default=(0.0, 100.0), metavar=("LEAST", "GREATEST"), help="of weight / start (0 100)"
    )
    rake.add_argument("--no-bounds", action="store_true", help="classical raking: the distance is entropy")
    rake.add_argument("--gap", type=float, default=1e-4, help="relative duality gap to stop at (1e-4)")
    rake.add_argument("--most", type=int, default=50, metavar="N", help="conflicts that are told of (50)")
    rake.add_argument("--solved", type=int, default=3, metavar="N", help="of which so many are solved again with some room (3)")
    rake.set_defaults(run=_rake)


def _add_problem(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument("package", type=Path)
    parser.add_argument("--output", type=Path, required=True, help=output)
    parser.add_argument(
        "--scale", default="safe", help="errors relative to max(|target|, floor) (safe) or |target| + 1 (reference)"
    )
    parser.add_argument("--floor", type=float, default=1.0, help="least scale, in the unit of the target")
    parser.add_argument("--huber", type=float, help="relative error beyond which the loss grows linearly")
    parser.add_argument("--margins", type=float, default=0.0, help="share of publishers' margins of error that costs nothing")
    grouped = "column of the targets whose groups share the loss evenly"
    parser.add_argument("--groups", default="", metavar="COLUMN", help=grouped)
    weighted = "with --groups: its share of the loss against 1 of others, as in snap=2; may be given for several groups"
    parser.add_argument("--group-weight", action="append", default=[], metavar="GROUP=NUMBER", help=weighted)
    narrowed = (
        "YAML rules (or default, full, holdout) that narrow the package's targets and hold some out, without a new package"
    )
    parser.add_argument("--target-config", default="", metavar="FILE", help=narrowed)


def _add_gates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    gates = parser.add_argument_group("gates", "of no use to other methods of an exact size")
    gates.add_argument("--preset", help="local (lambda 1e-8), which is the default, or national (1e-4)")
    epochs = f"epochs in all, those before a resume included; {_DEFAULT.epochs}, or 0 with --start-from and without --records"
    gates.add_argument("--epochs", type=int, help=epochs)
    gates.add_argument("--lambda-l0", type=float, help="price of an open gate, in units of the loss")
    gates.add_argument(
        "--lambda-share", type=float, help="in place of it: price of all gates as a share of the loss of no weights"
    )
    gates.add_argument("--lambda-l2", type=float, help="price of the sum of squared weights")
    gates.add_argument("--beta", type=float, help="temperature of the gates")
    gates.add_argument("--learning-rate", type=float)
    rows = f"epochs between rows of calibration_log.csv ({_DEFAULT.log_every})"
    gates.add_argument("--log-freq", type=int, metavar="EPOCHS", help=rows)


def _settings(arguments: argparse.Namespace, **own: Any) -> FitSettings:
    """Settings of a fit; flags that were not given leave the defaults."""
    given = {setting: value for flag, setting in _OF_GATES.items() if (value := getattr(arguments, flag)) is not None}
    return _of_problem(arguments, device=arguments.device, seed=arguments.seed, **{**own, **given})


def _of_problem(arguments: argparse.Namespace, **own: Any) -> FitSettings:
    """Settings by the flags that say what is fitted, and others."""
    return FitSettings(
        targets=arguments.target_config,
        scale=arguments.scale,
        floor=arguments.floor,
        huber=arguments.huber,
        margins=arguments.margins,
        groups=arguments.groups,
        group_weights=tuple(arguments.group_weight),
        **own,
    )


def _fit(arguments: argparse.Namespace) -> int:
    _check_package(arguments.package)
    from geocal_core.fit.output import CHECKPOINT, FILES
    from geocal_core.fit.stage import fit_package

    output = _checked(arguments.output, FILES)
    settings = _settings(arguments, start_from=arguments.start_from, **_of_size(arguments))
    scratch = output.with_name(f".{output.name}.scratch")
    live = arguments.checkpoint_output or scratch / CHECKPOINT
    if arguments.resume_from is not None:
        _take_checkpoint(arguments.resume_from, live)
    with atomic(output) as temporary:
        facts = fit_package(arguments.package, temporary, scratch, settings, Terminal(), checkpoint=live)
    remove(scratch)
    for name, value in facts.items():
        print(f"{name:40s} {value}")
    print(f"written to {output}")
    return 0


def _frontier(arguments: argparse.Namespace) -> int:
    _check_package(arguments.package)
    from geocal_core.fit.frontier import FILES
    from geocal_core.fit.stage import frontier_of_package

    output = _checked(arguments.output, FILES)
    idle = _idle(arguments)
    if "gates" not in arguments.methods and idle:
        raise ConfigError(f"{idle} is a setting of gates", "add gates to --methods, or leave it out")
    sizes, methods = tuple(arguments.sizes), tuple(arguments.methods)
    with atomic(output) as temporary:
        text = frontier_of_package(arguments.package, temporary, _settings(arguments), sizes, methods, Terminal())
    print(text)
    print(f"written to {output}")
    return 0


def _rake(arguments: argparse.Namespace) -> int:
    _check_package(arguments.package)
    from geocal_core.fit.reference import FILES, RakeSettings, rake_package

    output = _checked(arguments.output, FILES)
    bounds = None if arguments.no_bounds else tuple(arguments.bounds)
    raking = RakeSettings(arguments.price, bounds, arguments.gap, arguments.most, arguments.solved)
    with atomic(output) as temporary:
        text = rake_package(arguments.package, temporary, _of_problem(arguments), raking, Terminal())
    print(text)
    print(f"written to {output}")
    return 0


def _idle(arguments: argparse.Namespace) -> str:
    """The first flag of the gated fit that was given; empty if none was."""
    return next((f"--{flag.replace('_', '-')}" for flag in _OF_GATES if getattr(arguments, flag) is not None), "")


def _check_package(package: Path) -> None:
    if not package.is_dir():
        raise ArtifactError(f"{package} is not a calibration package", "give the folder that holds manifest.json")


def _checked(folder: Path, files: frozenset[str]) -> Path:
    """The folder to write, which is replaced as a whole: never one that holds anything else, such as the package or a home."""
    output = folder.expanduser().resolve()
    if output.exists() and not (output.is_dir() and {path.name for path in output.iterdir()} <= files):
        raise ConfigError(f"{output} is there and holds other things than the files of a fit", "give --output a new folder")
    return output


def _of_size(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that depend on whether an exact number of columns is wanted."""
    if arguments.records is None:
        if arguments.method is not None:
            raise ConfigError(f"--method {arguments.method} says how an exact number is kept", "give --records N as well")
        own = {} if arguments.refit_epochs is None else {"refit_epochs": arguments.refit_epochs}
        return own | ({"epochs": 0} if arguments.start_from else {})
    method = arguments.method or _DEFAULT.method
    if arguments.records < 1:
        raise ConfigError(f"--records is {arguments.records}", "give 1 or more, or leave it out")
    if arguments.refit_epochs is not None:
        raise ConfigError("--refit-epochs is of a fit without --records", "with it, a polish follows the selection")
    if method != "gates" and (idle := _idle(arguments)):
        raise ConfigError(f"{idle} means nothing for the method {method}", "it is for --method gates")
    if arguments.epochs == 0:
        raise ConfigError("no gate closes in 0 epochs", "give --epochs, or take --method cube")
    return {"records": arguments.records, "method": method}


def _take_checkpoint(source: Path, live: Path) -> None:
    """Copy a checkpoint, or the one beside the weights of a fit, to where the fit looks for its own."""
    found = source / "checkpoint.npz" if source.is_dir() else source.with_name("checkpoint.npz")
    found = source if source.suffix == ".npz" else found
    if not found.is_file():
        raise ConfigError(f"there is no checkpoint {found} to resume from", "give checkpoint.npz of a fit")
    if found.resolve() != live.resolve():
        with atomic(live) as temporary:
            shutil.copyfile(found, temporary)
