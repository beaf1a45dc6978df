"""The description of the routes: OpenAPI 3.1, from the bodies that they take, with code that asks their examples."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from earshot import __version__
from earshot.serve.pickles import MEDIA_TYPE
from earshot.serve.refusals import Refused
from earshot.serve.requests import PICTURES, Body

REFUSALS: Final = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
"""What a request with a body may be answered instead; docs/serve.md says when."""
ADDRESS: Final = "http://127.0.0.1:8379"
"""Of the server in the code; /docs puts its own there."""
_PYTHON = """\
import base64, json, pathlib
from urllib.request import Request, urlopen, urlretrieve

server = "{address}"
for name in {names}:
    urlretrieve(f"{{server}}/{{name}}", name)


def picture(path):
    return base64.b64encode(pathlib.Path(path).read_bytes()).decode()


body = {body}
asked = Request(server + "{path}", json.dumps(body).encode(), {{"Content-Type": "application/json"}})
print(json.dumps(json.load(urlopen(asked)), indent=2))
"""


def describe(posts: Mapping[str, type[Body]], states: Mapping[str, str], root_path: str = "") -> dict[str, Any]:
    """The document at /openapi.json.

    Args:
        posts: The body that each path takes.
        states: What is known of the server at each path that takes none.
        root_path: What stands before all of them.
    """
    models: list[type[BaseModel]] = [*posts.values(), Refused]
    schemas, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    refusal = schemas[Refused, "validation"]
    refused = {str(status): _answer(HTTPStatus(status).phrase, refusal) for status in REFUSALS}
    paths = {}
    for path, body in posts.items():
        content = {"schema": schemas[body, "validation"], "example": body.example}
        operation = _operation(path, (body.__doc__ or "").partition("\n")[0], body.answer, refused)
        if body.pickled:
            binary = {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}}
            operation["requestBody"] = {"required": True, "content": binary}
            operation["responses"]["200"] = {"description": body.answer, "content": binary}
        else:
            operation["x-codeSamples"] = [
                {"lang": "shell", "label": "curl", "source": _curl(path, body)},
                {"lang": "python", "label": "Python", "source": _python(path, body)},
            ]
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        paths[path] = {"post": operation}
    for path, text in states.items():
        paths[path] = {"get": _operation(path, text, "The answer", {"503": _answer("Not now")})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Earshot", "version": __version__},
        "servers": [{"url": f"{root_path}/"}],
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _operation(path: str, summary: str, answer: str, otherwise: Mapping[str, Any]) -> dict[str, Any]:
    name = path.strip("/").replace("/", "_")
    return {"summary": summary, "operationId": name, "responses": {"200": _answer(answer), **otherwise}}


def _answer(text: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _python(path: str, body: type[Body]) -> str:
    text, names = _with_files(body, 'picture("{}")')
    return _PYTHON.format(address=ADDRESS, path=path, names=tuple(names), body=text)


def _curl(path: str, body: type[Body]) -> str:
    text, names = _with_files(body, "\"$(base64 < {} | tr -d '\\n')\"")
    first = f"curl -s {' '.join(f'-O {ADDRESS}/{name}' for name in names)}\ncurl -s {ADDRESS}{path}"
    if body.multipart:
        return " \\\n  -F ".join([first, *_parts(body.example)])
    return f"{first} -H 'Content-Type: application/json' -d @- <<END\n{text}\nEND"


def _parts(example: Mapping[str, Any]) -> Iterator[str]:
    """The example as parts of a form."""
    files = {text: f"@{name}" for name, text in PICTURES.items()}
    for name, value in example.items():
        for one in value if isinstance(value, list) else [value]:
            yield shlex.quote(f"{name}={files.get(one, one)}")


def _with_files(body: type[Body], put: str) -> tuple[str, list[str]]:
    """The example as JSON, in which `put` of a picture's file stands for the picture, and the files."""
    text, names = json.dumps(body.example, indent=4), []
    for name, picture in PICTURES.items():
        if picture in text:
            text = text.replace(json.dumps(picture), put.format(name))
            names.append(name)
    return text, names
