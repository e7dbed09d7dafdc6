"""ELF files: their machine, and the libraries that they are linked with."""
