"""What goes in and what comes out: requests, results, states and errors, and their JSON Schemas."""
