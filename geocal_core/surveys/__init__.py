"""Readers of survey files: what the agencies publish, as populations of the engine's inputs."""
