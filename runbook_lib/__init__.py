"""The database migration runbook: what its notebooks call."""
