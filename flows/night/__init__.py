"""A night: its plan, what it did, and what people are told about it. Nothing here imports Prefect."""
