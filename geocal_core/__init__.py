"""The science of geocal: from raw survey files and published totals to calibrated area datasets.

Nothing in this package imports dagster; only ``geocal_core.engine`` imports policyengine_us, and only inside functions.
"""

__version__ = "0.1.0"
