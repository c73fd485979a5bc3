"""What is in a folder of shards, before anybody trains on it: counts, labels, overlap of sites, odd scans, pictures."""

from distunlearn.report.inspection.look import Inspection, look
from distunlearn.report.inspection.page import write_page
from distunlearn.report.inspection.text import in_words

__all__ = ["Inspection", "in_words", "look", "write_page"]
