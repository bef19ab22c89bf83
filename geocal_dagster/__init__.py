"""The factory: geocal's stages as software-defined assets of Dagster.

Assembly only. What a stage does is in ``geocal_core``, which the factory starts as a command and never imports the science of.
"""
