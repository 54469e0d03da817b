"""Where a request meets the frozen engine: request, prices and rule in, result and figure out."""
