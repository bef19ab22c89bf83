"""Published totals: the agencies' tables, the database that holds them, and the targets that a calibration takes from it."""
