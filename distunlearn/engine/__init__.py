"""The trainer: three phases, three all-reduces, the same result on any number of ranks, and no run that a kill can lose."""
