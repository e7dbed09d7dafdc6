"""Locks: the exact packages or files that a recipe resolves to."""
