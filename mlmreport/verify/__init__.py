"""Re-deriving every number in a clean R, and reading it back from the page."""
