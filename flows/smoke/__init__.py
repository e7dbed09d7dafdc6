"""Smoke tests: an image runs in a container and does what its recipe says."""
