"""Settings, folders and options of a command."""
