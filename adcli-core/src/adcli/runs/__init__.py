"""The run folder: written whole, found again, read and verified."""
