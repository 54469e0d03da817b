"""Where prices come from when they are asked for by the ticker alone."""
