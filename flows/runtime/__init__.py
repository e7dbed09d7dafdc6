"""What one command or build has while it runs: context, work folder, progress, signals."""
