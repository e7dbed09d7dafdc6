"""Programs: how they are started, in which sandbox, with which limits."""
