"""Packages and tarballs: download, signature, the pool, and what is in a deb."""
