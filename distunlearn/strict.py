"""The base of every file that people write: unknown keys are refused by name, values are frozen."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from distunlearn.errors import UserError

AnyStrict = TypeVar("AnyStrict", bound="Strict")


class Strict(BaseModel):
    """A configuration whose fields' docstrings are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def read(cls: type[AnyStrict], values: Any, source: str) -> AnyStrict:
        """Check values that came from a file or from the command line.

        Raises:
            UserError: one line that names every wrong key, what is wrong with it, and where it came from.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{source}: {_describe(error, cls)}") from None


def _describe(error: ValidationError, model: type[BaseModel]) -> str:
    return "; ".join(_line(problem, model) for problem in error.errors())


def _line(problem: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{key or 'the file'}: {problem['msg']}"
    known = f" (known: {', '.join(model.model_fields)})" if len(problem["loc"]) == 1 else ""
    return f"unknown key {key!r}{known}"
