"""From a recipe to one deterministic layer. Knows no Docker and no Prefect."""
