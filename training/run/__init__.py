"""What stays of a run on disk, and what a person is shown."""
