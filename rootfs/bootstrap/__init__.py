"""Bootstrappers: programs that make a tree out of packages or a tarball."""
