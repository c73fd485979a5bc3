"""What is predicted. A new task is one file here and one line in TASKS."""

from typing import Annotated, Any

from pydantic import Field

from distunlearn.tasks.classification import Classification, ClassificationConfig
from distunlearn.tasks.regression import Regression, RegressionConfig
from distunlearn.tasks.segmentation import Segmentation, SegmentationConfig
from distunlearn.tasks.task import Task

TASKS: dict[str, Any] = {
    "regression": Regression,
    "classification": Classification,
    "segmentation": Segmentation,
}

AnyTask = RegressionConfig | ClassificationConfig | SegmentationConfig
TaskConfig = Annotated[AnyTask, Field(discriminator="name")]

__all__ = [
    "TASKS",
    "Classification",
    "ClassificationConfig",
    "Regression",
    "RegressionConfig",
    "Segmentation",
    "SegmentationConfig",
    "Task",
    "TaskConfig",
]
