"""The agencies: a module (or folder) each, found by being here. See ``registry`` for what a module declares."""
