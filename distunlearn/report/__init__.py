"""Tables, figures and the page: everything is read from run folders and from nowhere else."""

from distunlearn.report.gallery import figures
from distunlearn.report.page import write_report
from distunlearn.report.terminal import print_table

__all__ = ["figures", "print_table", "write_report"]
