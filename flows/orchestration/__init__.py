"""What adapts Prefect: steps, flows, the local server, and how a run survives its loss."""
