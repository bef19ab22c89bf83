"""The report of errors: how far the calibrated totals are from the published ones."""
