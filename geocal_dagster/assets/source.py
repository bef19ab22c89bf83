"""An observable source for every file of an agency: what it holds now, without building anything.

Its data version is the digest of the content, so touching a file, or publishing the same one again, moves nothing. Where the
files are looked for is said by the settings of the agency's raw stage: the two never differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from geocal_core.errors import GeocalError
from geocal_core.published import PublishedFile
from geocal_core.settings import RawSettings, Settings
from geocal_core.stages import Stage
from geocal_core.targets.registry import published_files
from geocal_dagster.automation import LOOK


def source_keys(stage: Stage) -> list[dg.AssetKey]:
    """Keys of the files that a stage collects; none, if it is not the raw stage of an agency."""
    agency = _agency(stage)
    return [_key(agency, file) for file in published_files().get(agency, ())]


def source_assets(settings: Mapping[str, Settings]) -> list[dg.SourceAsset]:
    """The observable sources of all agencies, given the settings of the raw stages by their names."""
    assets = []
    for agency, files in published_files().items():
        for file in files:
            of_stage = settings[f"raw_{agency}"]
            assert isinstance(of_stage, RawSettings)
            assets.append(_source_asset(agency, file, of_stage))
    return assets


def _agency(stage: Stage) -> str:
    return stage.name.removeprefix("raw_")


def _key(agency: str, file: PublishedFile) -> dg.AssetKey:
    return dg.AssetKey(["agency", agency, file.key])


def _source_asset(agency: str, file: PublishedFile, settings: RawSettings) -> dg.SourceAsset:
    @dg.observable_source_asset(
        key=_key(agency, file),
        group_name="agencies",
        description=f"{file.description}.",
        tags={f"dagster/kind/{file.kind}": ""} if file.kind else None,
        metadata={"file": file.name, "published": dg.MetadataValue.url(file.url)},
        automation_condition=LOOK,
    )
    def look(context: dg.OpExecutionContext) -> dg.ObserveResult:
        from geocal_core.sources import observe  # its downloads would make the definitions slower to load

        try:
            seen = observe(agency, file, settings)
        except GeocalError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(f"{file.name}: {seen.version[:12]}")
        return dg.ObserveResult(data_version=dg.DataVersion(seen.version), metadata=dict(seen.facts))

    return look
