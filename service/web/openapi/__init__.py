"""The description of the API, made of what is said beside each route."""
