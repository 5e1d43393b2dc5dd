"""Faults of our own pipeline, each put in by a small edit of its source, and the check that must find it."""
