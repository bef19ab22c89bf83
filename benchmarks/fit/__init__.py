"""Fits side by side: problems built, geocal and its peers run on them one after the other, one table of speed and quality.

``python -m benchmarks.fit`` runs the suite (``__main__``). ``problems`` makes the problems, each a calibration package;
``ours`` and ``peers`` hold the contenders, each of which ``apart`` runs in a process of its own; ``quality`` judges the weights
of all of them by the same figures; ``traffic`` counts bytes; ``report`` writes the table and sets it beside the goals.
``products``, ``raking`` and ``selection`` measure single parts of the fit.
"""
