"""The eight steps: what each asks R, and what it decides."""
