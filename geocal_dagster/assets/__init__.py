"""The assets: one for each stage, made from the registry of ``geocal_core.stages``."""
