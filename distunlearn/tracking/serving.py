"""A model that MLflow can serve over REST, written as code and plain files: nothing in it is pickled."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distunlearn import __version__
from distunlearn.tracking.store import ALWAYS

os.environ.update(ALWAYS)

FILES = "model"


def save_served(folder: Path, files: Sequence[Path], *, takes: str, gives: Mapping[str, str], code: str) -> None:
    """Write an MLflow model of the pyfunc flavour.

    Args:
        folder: to make.
        files: are copied into it.
        takes: name of the one input column, whose cells are the bytes of a file (base64 in JSON).
        gives: names and MLflow types of the output's columns.
        code: a module that calls `serve`.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    column: list[ColSpec | TensorSpec] = [ColSpec(DataType.binary, takes)]
    answer: list[ColSpec | TensorSpec] = [ColSpec(DataType[kind], name, required=False) for name, kind in gives.items()]
    signature = ModelSignature(Schema(column), Schema(answer))
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as held:
        script, content = Path(held) / "served.py", Path(held) / FILES
        script.write_text(code)
        content.mkdir()
        for file in files:
            (content / file.name).write_bytes(file.read_bytes())
        warnings.filterwarnings("ignore", "(?s).*input example", UserWarning)  # an example would be somebody's scan
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(script),
            artifacts={FILES: str(content)},
            signature=signature,
            pip_requirements=[f"distunlearn=={__version__}"],
        )


def serve(load: Callable[[Path], Callable[[Iterable[bytes]], list[dict[str, Any]]]]) -> None:
    """Tell MLflow which model the calling module is.

    Args:
        load: from the folder of the copied files to a function from the input column's cells to rows.
    """
    import pandas as pd
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

    class Served(PythonModel):
        """Loads when the server starts, answers row by row."""

        def load_context(self, context: PythonModelContext) -> None:
            """Read the weights."""
            self.answer = load(Path(context.artifacts[FILES]))

        def predict(
            self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
        ) -> pd.DataFrame:
            """One row a file, in their order."""
            return pd.DataFrame(
                self.answer(model_input.iloc[:, 0]), dtype=object
            )  # None is null in JSON, NaN is nothing

    set_model(Served())
