"""The synthetic nation, written in the agencies' own file formats: a source like any other, so nothing downstream knows it."""
