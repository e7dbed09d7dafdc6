"""`python -m rootfs.tree.pour TREE`: a tree that only its own namespace can read, as a tar on standard output."""

import sys
from pathlib import Path

from rootfs.tree.member import from_tree
from rootfs.tree.tar_writer import frames

if __name__ == "__main__":
    sys.stdout.buffer.writelines(frames(from_tree(Path(sys.argv[1]))))
