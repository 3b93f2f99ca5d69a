"""PatchCore for adcli."""
