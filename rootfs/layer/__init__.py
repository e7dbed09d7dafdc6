"""A layer: a tree as one deterministic, compressed tar."""
