"""What was tried on the same prices before, and what of the best of it is luck."""
