"""Checks of a finished tree: what the build has made that must not be published, and what a container starts with."""
