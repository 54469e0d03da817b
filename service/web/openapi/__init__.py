"""The description of the API, made from what each route says of itself."""
