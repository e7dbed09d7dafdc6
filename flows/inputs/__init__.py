"""Everything that decides an image's bytes, resolved before anything is made."""
