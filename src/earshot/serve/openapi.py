"""The description of the routes: OpenAPI 3.1, from the bodies that they take."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from earshot import __version__
from earshot.serve.refusals import Refused
from earshot.serve.requests import Body

REFUSALS: Final = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
"""What a request with a body may be answered instead; docs/serve.md says when."""


def describe(posts: Mapping[str, type[Body]], states: Mapping[str, str]) -> dict[str, Any]:
    """The document at /openapi.json.

    Args:
        posts: The body that each path takes.
        states: What is known of the server at each path that takes none.
    """
    models: list[type[BaseModel]] = [*posts.values(), Refused]
    schemas, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    refusal = schemas[Refused, "validation"]
    refused = {str(status): _answer(HTTPStatus(status).phrase, refusal) for status in REFUSALS}
    paths = {path: {"get": _operation(path, text, {"503": _answer("Not now")})} for path, text in states.items()}
    for path, body in posts.items():
        content = {"schema": schemas[body, "validation"], "example": body.example}
        operation = _operation(path, (body.__doc__ or "").partition("\n")[0], refused)
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        paths[path] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Earshot", "version": __version__},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _operation(path: str, summary: str, otherwise: Mapping[str, Any]) -> dict[str, Any]:
    name = path.strip("/").replace("/", "_")
    return {"summary": summary, "operationId": name, "responses": {"200": _answer("The answer"), **otherwise}}


def _answer(text: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema or {"type": "object"}}}}
