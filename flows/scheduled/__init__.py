"""The flows that run by a schedule, and the process that serves them."""
