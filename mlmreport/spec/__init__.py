"""The spec: YAML text to a checked plan of the analysis."""
