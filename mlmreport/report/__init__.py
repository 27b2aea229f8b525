"""Results to document to files; never reaches R."""
