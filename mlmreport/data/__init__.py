"""Tables in, the analysis sample out."""
