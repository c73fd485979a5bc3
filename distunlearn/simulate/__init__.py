"""Simulated multi-site studies with known truth: subjects × scanners, laid out as BIDS.

`subject` renders an anatomy from the MNI152 template, `scanner` acquires it, `cohort` says who is scanned where, `study`
puts them together and `bids` writes them. What is not physical in it is said at the top of `subject` and of `scanner`.
"""

from distunlearn.simulate.study import Study, paper_proportions, simulate

__all__ = ["Study", "paper_proportions", "simulate"]
