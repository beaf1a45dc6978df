"""The description of the routes: OpenAPI 3.1, from the bodies that they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from earshot import __version__
from earshot.serve.refusals import Refused
from earshot.serve.requests import Body

REFUSALS: Final = {
    400: "The request is no HTTP that is understood.",
    401: "The key is missing or wrong.",
    403: "The Host header, or the site, is not ours.",
    404: "There is no listener.",
    408: "The body did not arrive in time.",
    413: "More than one request may hold.",
    415: "Another media type.",
    422: "Not what is expected.",
    429: "No room; see Retry-After.",
    500: "Our fault.",
    503: "The listener broke, or the server is going away.",
    504: "The deadline passed.",
}


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
    refused = {str(status): _answer(text, refusal) for status, text in REFUSALS.items()}
    paths = {path: {"get": _operation(path, text, {"503": _answer("Not now.")})} for path, text in states.items()}
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
    return {"summary": summary, "operationId": name, "responses": {"200": _answer("The answer."), **otherwise}}


def _answer(text: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema or {"type": "object"}}}}
