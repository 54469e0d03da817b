"""What a browser or a program sends, turned into a request, and a request into the fields of a form."""
