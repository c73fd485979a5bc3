"""Train one network on brain MRI of many scanners, and prove that it no longer tells the scanner."""

__version__ = "0.1.0"
