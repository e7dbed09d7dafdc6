"""Files, locks, digests, text: what everything else uses."""
