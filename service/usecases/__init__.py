"""What the web may ask for: submit, look, list, cancel, read a result."""
