"""Read untrusted tarballs of root filesystems."""
