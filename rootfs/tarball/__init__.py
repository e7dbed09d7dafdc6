"""Root filesystems that come as a tarball: reading one that nobody vouches for."""
