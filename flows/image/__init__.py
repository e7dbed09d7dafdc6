"""Layer to image: the OCI layout, its import through a builder, its export as a file."""
