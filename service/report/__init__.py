"""What a result is shown with: its bars, a chart at any zoom, the numbers of a tear sheet."""
