"""How a stage is launched: one module per place to compute, and what they all share (``report``)."""
