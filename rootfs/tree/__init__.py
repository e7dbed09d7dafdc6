"""Trees: streams of members, and what is done to them before they are packed."""
