"""Records that are stored as JSON: one model per file, with a version, read and written in one place.

Every JSON file the package writes is a `Stored` model. Its fields are the file's keys, so the JSON Schema in
docs/schemas/ is made from the model and cannot drift from it. A number that is not defined is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.settings import shortened


def _finite(value: Any) -> Any:
    """None in place of a number that JSON cannot write."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A float, or None where it is not defined (nan, infinite)."""


class Stored(BaseModel):
    """A record that stands in a file, or in another record: frozen, and with no keys but its own.

    Keys that are no names in Python have an alias, and are written under it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class Sparse(Stored):
    """A record that leaves its unset fields out of the file: those whose default is None and that nobody gave.

    Read back, they are None. A field that was given as None is written as null.
    """

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields.items()
        unset = {f.alias or name for name, f in fields if f.default is None and name not in self.model_fields_set}
        return {key: value for key, value in handler(self).items() if key not in unset}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the fields: pydantic would describe what a serializer returns, which is any object."""
        plain = {key: value for key, value in core_schema.items() if key != "serialization"}
        return handler(cast(CoreSchema, plain))


StoredT = TypeVar("StoredT", bound=BaseModel)


class Interval(Stored):
    """An estimate with its interval; all null where it is not defined."""

    value: Number = None
    low: Number = None
    high: Number = None


def write_stored(path: Path, record: BaseModel) -> None:
    """Write a record as indented JSON, atomically. Raises ValueError for a number that is not finite."""
    write_atomic(path, stored_text(record))


def stored_text(record: BaseModel) -> str:
    """The text `write_stored` writes."""
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_stored(
    path: Path, model: type[StoredT], *, fix: str, upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> StoredT:
    """Read a record.

    fix: what to do about a file that is missing or damaged, for the error. upgrade: turns what an earlier
    version wrote into today's keys. Raises UserError naming the file, the key and the fix.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {fix}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {fix}") from None
    except (ValueError, RecursionError):  # the latter: nested too deep
        raise UserError(f"{path}: cannot be read; {fix}") from None
    try:
        return model.model_validate(upgrade(data) if upgrade is not None and isinstance(data, dict) else data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(shortened(str(part)) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {field}: {shortened(first['msg'], 300)}; {fix}") from None
