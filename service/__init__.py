"""Everything around the engine: a room for each process (web, controller, worker) and for each subject."""
