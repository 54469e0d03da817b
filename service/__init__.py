"""Everything around the engine: a room for each process and for each subject."""
