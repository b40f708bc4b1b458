"""Schemas of the documents that pydantic reads: what is checked and what is described are one list."""

from __future__ import annotations

from pydantic import BaseModel

from simpledrive.api.specification.references import Json


def schema_of(model: type[BaseModel], description: str, /, **members: Json) -> Json:
    """The schema of a document, with what pydantic cannot say of some members in place of what it says.

    Raises KeyError for a member that the document does not have.
    """
    described: Json = model.model_json_schema()
    properties: Json = {
        # Defaults there mean "not given", which no caller can send; titles repeat the names.
        name: {key: value for key, value in member.items() if key not in ("default", "title")}
        for name, member in described["properties"].items()
    }
    if unknown := members.keys() - properties.keys():
        raise KeyError(*unknown)
    return described | {
        "description": description,
        "title": model.__name__,
        "properties": properties | members,
    }
