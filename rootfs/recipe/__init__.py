"""Recipes: reading, validation, and the kinds there are."""
