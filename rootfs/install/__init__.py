"""Stage two of a tree: everything but its essential packages, done by a program inside the tree's own namespaces.

There an ordinary user is root, owners are the tree's own, and there is no network. Nothing is
used here that takes long to import, so that the program starts at once.
"""
