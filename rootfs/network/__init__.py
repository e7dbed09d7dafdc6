"""Addresses and connections: what all that talks to servers shares."""
