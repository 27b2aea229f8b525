"""mlmreport: from one YAML spec to a multilevel report in eight steps."""

__version__ = "0.1.0"
