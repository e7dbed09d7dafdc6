"""From a layer to a published image: the flows, and what they string together."""
