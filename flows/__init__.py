"""From a layer to a published image: the flows and their parts."""
