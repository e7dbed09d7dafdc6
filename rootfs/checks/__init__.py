"""Checks of a finished tree: what the build itself has made that must not be published, or differs each time."""
