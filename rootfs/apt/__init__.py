"""Archives of Debian and Ubuntu: signed Release files, indexes, and apt as the resolver."""
