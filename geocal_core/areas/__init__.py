"""The 488 datasets: assembly, writing and validation."""
