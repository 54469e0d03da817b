"""Parameter searches: thousands of combinations at once, and how much of the best one is luck."""
