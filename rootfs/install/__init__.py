"""The installer: installs packages in a tree and adds what a recipe says, inside the tree's own namespaces.

There an ordinary user is root, owners are the tree's own, and there is no network. Its modules import nothing that
takes long to load (no pydantic), so that the program starts at once.
"""
