"""MLflow, the mirror of the run folder: a process of its own copies what training writes, and can never hold it up.

Training only writes files (`metrics.jsonl`, figures, tables). Rank 0 starts one child process, the mirror, that follows
those files and tells MLflow. A server that is dead, hung, slow or full meets the mirror, never the trainer: no thread
shares the trainer's interpreter lock, nothing waits in a queue that could fill, and when training ends a server has
five seconds. Whatever MLflow then lacks is in the files, and `distunlearn sync RUN` adds it, once.

    tracker   what the trainer holds: start, note a figure or a file, stop
    record    the files that the trainer leaves for the mirror
    mirror    files -> MLflow, once; `sync`
    __main__  the child process that does it over and over
    parent    the run of MLflow that stands for a folder of runs
    store     where MLflow keeps runs; the only module that imports mlflow
    names     which names MLflow takes
    comparison  the page that shows given runs side by side
"""

from distunlearn.tracking.comparison import compare_link
from distunlearn.tracking.mirror import sync
from distunlearn.tracking.names import check_metric_names
from distunlearn.tracking.parent import announce
from distunlearn.tracking.tracker import Tracker

__all__ = ["Tracker", "announce", "check_metric_names", "compare_link", "sync"]
