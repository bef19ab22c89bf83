"""Launch forms: the settings of a stage as a typed Dagster config, with the defaults of a profile.

The settings themselves are dataclasses of ``geocal_core.settings``; nothing is declared twice. Choices that Dagster can check
before a run starts are ``Literal`` here; all else is checked by the stage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

import dagster as dg
from pydantic import Field, create_model

from geocal_core.profiles import Profile, profile
from geocal_core.settings import FitSettings, GeographySettings, RawSettings, Settings, as_config
from geocal_core.stages import Stage

# Settings that are text with a short list of permitted values.
_CHOICES: Mapping[tuple[type, str], Any] = {
    (RawSettings, "origin"): Literal["demo", "folder", "publisher"],
    (GeographySettings, "agi_level"): Literal["district", "state"],
    (FitSettings, "preset"): Literal["local", "national"],
    (FitSettings, "device"): Literal["cpu", "cuda"],
    (FitSettings, "method"): Literal["cube", "pps", "gates", "random"],
    (FitSettings, "scale"): Literal["safe", "reference"],
}


def env(name: str, default: str) -> str | dg.EnvVar:
    """A variable of the environment for a resource: shown by its name in the UI where it is set, else the default."""
    return dg.EnvVar(name) if os.environ.get(name) else default


def chosen_profile() -> Profile:
    """The profile that ``GEOCAL_PROFILE`` names, with the targets' sources that ``GEOCAL_SOURCES`` names.

    These are ``demo`` (also if it is not set), ``publisher``, or a folder of published files. Launch forms and observations
    both take them from here, so that what is observed is what is read.
    """
    chosen = profile(os.environ.get("GEOCAL_PROFILE") or "demo")
    sources = os.environ.get("GEOCAL_SOURCES") or "demo"
    if sources == "demo":
        return chosen
    if sources == "publisher":
        return chosen.with_publisher()
    return chosen.with_folder(str(Path(sources).expanduser().resolve()))


def config_class(stage: Stage, defaults: Settings) -> type[dg.Config]:
    """The config of a stage: a field for each of its settings, with the docstring's description and the given default."""
    hints = get_type_hints(stage.settings)
    described = _described_attributes(stage.settings.__doc__ or "")
    values = as_config(defaults)
    definitions: dict[str, Any] = {
        f.name: (
            _field_type(stage.settings, f.name, hints[f.name]),
            Field(default=values[f.name], description=described.get(f.name)),
        )
        for f in fields(stage.settings)
    }
    name = "".join(part.capitalize() for part in stage.name.split("_")) + "Config"
    return cast("type[dg.Config]", create_model(name, __base__=dg.Config, __doc__=stage.settings.__doc__, **definitions))


def _field_type(settings: type, name: str, hint: Any) -> Any:
    if (settings, name) in _CHOICES:
        return _CHOICES[settings, name]
    return list[str] if hint == tuple[str, ...] else hint  # Dagster's config has lists and no tuples


def _described_attributes(docstring: str) -> dict[str, str]:
    """Descriptions of a numpydoc ``Attributes`` section by name, each on one line."""
    _, _, section = cleandoc(docstring).partition("Attributes\n----------\n")
    entries = re.findall(r"^(\w+) : .*\n((?: {4}.*\n?)+)", section + "\n", flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
