"""Requests from what a browser or a program sends, and the fields of a form from a request."""
