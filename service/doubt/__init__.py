"""How much of a run's numbers may be luck, and what they hang on."""
