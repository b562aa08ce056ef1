"""What keys of params.yaml may hold: numbers with their bounds, and what all groups of keys share."""

import itertools
import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _no_boolean(value: Any) -> Any:
    """pydantic takes true for 1; as a rate or a share that is a slip."""
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]


Share = Annotated[Number, Field(ge=0, le=1)]


ShareBelowOne = Annotated[Number, Field(ge=0, lt=1)]


ShareInside = Annotated[Number, Field(gt=0, lt=1)]


Positive = Annotated[Number, Field(gt=0)]


NotNegative = Annotated[Number, Field(ge=0)]


MOST = 1_000_000  # bound of whole numbers that have no narrower one, so that none asks for arrays beyond any memory


Count = Annotated[int, Field(ge=1, le=MOST, strict=True)]


CountOrZero = Annotated[int, Field(ge=0, le=MOST, strict=True)]


def _whole(value: float) -> float:
    """30.0 is 30: classes are named by their bins, and two ways to write one number are one task."""
    if not math.isfinite(value):
        raise PydanticCustomError("finite", "input should be a finite number")
    return int(value) if float(value).is_integer() else value


Edge = Annotated[int | float, BeforeValidator(_no_boolean), AfterValidator(_whole)]


Bins = Annotated[tuple[Edge, ...], Field(min_length=1)]


def ascend(numbers: tuple[float, ...]) -> bool:
    return all(first < second for first, second in itertools.pairwise(numbers))


class Group(BaseModel):
    """What all groups share: unknown keys are errors, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
