"""Trees with just one folder for programs, and one for libraries: those outside /usr lead into it (Debian #978636)."""

ALIASES = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")  # of folders in /usr


def in_usr(path: str) -> str:
    """Where a path leads to when the folders outside /usr are aliases of those in it."""
    first, slash, _ = path.partition("/")
    return f"usr/{path}" if first in ALIASES and slash else path
