"""Parse a service's config.json."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from deploy.domain.reports import is_deep, is_encodable
from deploy.domain.service_config import MAX_TAG, ServiceConfig, is_tag, options_of

CONFIG = "config.json"


def _checked_tag(text: str) -> str:
    if not is_tag(text):
        raise ValueError(f"A tag must have 1 to {MAX_TAG} printable characters, without spaces at its ends.")
    return text


Tag = Annotated[str, AfterValidator(_checked_tag)]


class FolderError(Exception):
    """A folder cannot be used. `file` is relative to the folder."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def parse_config(content: bytes) -> tuple[dict[str, Any], ServiceConfig]:
    """Return the content of a config.json, both as read and parsed.

    Raises:
        FolderError: The content is not valid JSON or has invalid options. The reason lists all of them.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
        json.dumps(data, allow_nan=False)  # Python parses NaN, but neither the database nor a browser accepts it
    except (ValueError, RecursionError) as error:
        raise FolderError(CONFIG, f"it is not valid JSON: {str(error).partition(';')[0]}") from error
    if not isinstance(data, dict):
        raise FolderError(CONFIG, "it must be a JSON object.")
    if is_deep(data):
        raise FolderError(CONFIG, "it is nested too deeply (50 levels at most).")
    if not is_encodable(data):
        raise FolderError(CONFIG, "a string contains a lone surrogate, which is not a valid character.")
    _validate(data)
    return data, ServiceConfig.from_json(data)


def _validate(data: dict[str, Any]) -> None:
    try:
        _MODEL.model_validate(data)
    except ValidationError as error:
        faults = ("{}: {}".format(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())
        raise FolderError(CONFIG, "; ".join(faults)) from error


def _model_of(kind: type[Any], config: ConfigDict) -> type[BaseModel]:
    """Return a model with the options of a class, their types, and their limits."""
    types, options = get_type_hints(kind), options_of(kind)
    definitions: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in options:
            default = ... if field.default is MISSING else field.default
            limits: dict[str, Any] = {**options[field.name].limits}
            definitions[field.name] = (_json_type(types[field.name]), Field(default, **limits))
    return create_model(kind.__name__, __config__=config, **definitions)


def _json_type(declared: Any) -> Any:
    """Return the type of an option in JSON: a list of objects for a tuple of a class."""
    if get_origin(declared) is not tuple:
        return declared
    (kind, *_) = get_args(declared)
    item = Tag if kind is str else _model_of(kind, ConfigDict())
    return list[item]  # type: ignore[valid-type]  # known at run time only


_MODEL = _model_of(ServiceConfig, ConfigDict(extra="allow", strict=True))
