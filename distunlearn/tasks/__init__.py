"""What is predicted. A new task is one file here and one line in TASKS."""

from distunlearn.tasks.regression import Regression, RegressionConfig

TASKS = {"regression": Regression}

Task = Regression
TaskConfig = RegressionConfig

__all__ = ["TASKS", "Regression", "RegressionConfig", "Task", "TaskConfig"]
