"""Builders that an image is imported through: one module a buildx driver."""
