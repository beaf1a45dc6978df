"""Bodies: read within limits, understood, and their images decoded. Nothing else of a request is ever opened."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
from io import BytesIO
from typing import Any, TypeVar

from pydantic import ValidationError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import Request

from earshot.errors import ImageError
from earshot.images import SUFFIXES, ImageLimits, read_header
from earshot.judging.pictures import Picture
from earshot.serve.admission import Limits
from earshot.serve.calls import Call
from earshot.serve.decoding import Decode, decode_here, why_refused
from earshot.serve.engine import NoWorker
from earshot.serve.pickles import unpickled
from earshot.serve.refusals import ClientGone, Refusal, no_worker
from earshot.serve.requests import Body
from earshot.web import Receive

B = TypeVar("B", bound=Body)

_BODY_S = 10.0
"""How long a body may take, and a second more for each `_BYTES_PER_S`."""
_BYTES_PER_S = 2**14
_MAX_PARTS = 1024
_FORM = {
    "MAX_HEADER_COUNT": 8,  # of a part
    "MAX_HEADER_SIZE": 4096,
    "MAX_MEMORY_FILE_SIZE": math.inf,  # nothing of a request goes to the disk
    "UPLOAD_ERROR_ON_BAD_CTE": True,
}
_LISTS = frozenset({"images", "references", "traces"})
_DATA = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)  # whatever type it claims: the bytes tell


async def read_body(request: Request, limits: Limits, call: Call, timeout_s: float) -> bytes:
    """The body, given up as soon as it is too large.

    Raises:
        Refusal: It is too large, too slow or compressed, or there is no room for it.
        ClientGone: The client left before its end.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "encoded_body", "the body is compressed; send it as it is")
    too_large = Refusal(
        413, "body_too_large", f"the body has more than {_mebibytes(limits.body_bytes)}; send less at once"
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limits.body_bytes):
        raise too_large
    chunks, total, start = [], 0, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(None) as until:
            while True:
                until.reschedule(start + min(timeout_s, _BODY_S + total / _BYTES_PER_S))
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                total += len(chunk)
                if total > limits.body_bytes:
                    raise too_large
                call.take(bytes=len(chunk))
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise Refusal(408, "body_too_slow", "the body did not arrive in time") from None


async def drain(receive: Receive, most_bytes: int) -> None:
    """Reads what little is left of a refused body: a client that is still writing may not get to read why."""
    total = 0
    try:
        async with asyncio.timeout(0.02):
            while total <= most_bytes:
                message = await receive()
                total += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def understand(body: bytes, content_type: str, model: type[B]) -> B:
    """A body as what it is to be.

    Raises:
        Refusal: It is not.
    """
    kind, options = parse_options_header(content_type)
    try:
        if model.pickled:  # whatever type it claims: some clients claim none
            return model.model_validate(unpickled(body))
        if model.multipart and kind == b"multipart/form-data":
            return model.model_validate(_parts(body, options.get(b"boundary", b"")))
        if kind != b"application/json":
            expected = "application/json or multipart/form-data" if model.multipart else "application/json"
            raise Refusal(415, "media_type", f"the body is of another media type; expected {expected}")
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"] if part not in ("str", "bytes"))[:100] or None
        raise Refusal(422, "invalid_request", f"{first['msg']}; /docs has examples", param=param) from None


def _parts(body: bytes, boundary: bytes) -> dict[str, Any]:
    """The fields of a multipart body: files as bytes, all else as text; names in `_LISTS` may come several times."""
    refused = Refusal(422, "invalid_multipart", "the body is no multipart/form-data; /docs has examples in JSON")
    if not boundary:
        raise refused
    found: dict[str, Any] = {}
    n_parts = 0

    def take(part: Field | File) -> None:
        nonlocal n_parts
        n_parts += 1
        if n_parts > _MAX_PARTS:
            raise refused
        key = (part.field_name or b"").decode()
        given: str | bytes
        if isinstance(part, Field):
            given = (part.value or b"").decode()
        else:
            assert isinstance(part.file_object, BytesIO), "a file went to the disk"
            given = part.file_object.getvalue()
        if key in _LISTS:
            found.setdefault(key, []).append(given)
        elif key in found:
            raise Refusal(422, "invalid_multipart", "this field comes twice", param=key[:100])
        else:
            found[key] = given

    try:
        # Not Starlette's form(): it reads text that is no UTF-8 as Latin-1, and writes large files to the disk.
        parser = FormParser("multipart/form-data", take, take, boundary=boundary, config=_FORM)
        parser.write(body)
        parser.finalize()
    except ValueError:  # of the parser, or of text that is no UTF-8
        raise refused from None
    return found


def check_text(text: str, limits: Limits, param: str) -> str:
    """The text, if it is one that a model may be asked with.

    Raises:
        Refusal: It is blank, too long, or holds half a character.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Refusal(422, "invalid_text", "the text holds half a character; encode it again", param=param) from None
    if size > limits.text_bytes:
        raise Refusal(
            413, "text_too_long", f"the text has more than {limits.text_bytes} bytes; shorten it", param=param
        )
    return text


def check_prompt(prompt: str, limits: Limits) -> str:
    """A text that is not blank."""
    if not prompt.strip():
        raise Refusal(
            422, "invalid_text", "the prompt is blank; expected what the images were made from", param="prompt"
        )
    return check_text(prompt, limits, "prompt")


def decode_images(
    sources: list[tuple[str, str | bytes]], limits: Limits, call: Call, decode: Decode = decode_here
) -> list[Picture]:
    """Images by the names of their fields, decoded once all of them have been found to be within the limits.

    Raises:
        Refusal: One is no image, or there are too many, or there is no room or no time for them.
    """
    if len(sources) > limits.images:
        raise Refusal(413, "too_many_images", f"the request has more than {limits.images} images; send fewer at once")
    call.take(images=len(sources))
    files = [(name, _file(name, source, limits)) for name, source in sources]
    headers = []
    for name, data in files:
        try:
            headers.append(read_header(data, limits=limits.image, where=name))
        except ImageError as error:
            raise _refused(name, why_refused(error), limits.image) from None
        call.take(pixels=headers[-1].width_px * headers[-1].height_px)
    pictures = []
    for (name, data), header in zip(files, headers, strict=True):
        call.check()
        try:
            told = decode(data, header, limits.image, call.wanted)
        except NoWorker:
            call.check()  # nobody waits any more
            raise no_worker() from None
        if isinstance(told, str):
            raise _refused(name, told, limits.image)
        pictures.append(told)
    return pictures


def _refused(name: str, why: str, most: ImageLimits) -> Refusal:
    return Refusal(
        422,
        "image_refused",
        f"this image {why} (taken: {', '.join(SUFFIXES)} files with one picture of at most {most.area} and "
        f"{_mebibytes(most.max_bytes)}, no side more than {most.max_aspect:g} times the other)",
        param=name,
    )


def _mebibytes(n: int) -> str:
    return f"{n / 2**20:g} MiB"


def _file(name: str, source: str | bytes, limits: Limits) -> bytes:
    most = limits.image.max_bytes
    if len(source) > (most if isinstance(source, bytes) else most * 4 // 3 + 1000):
        raise Refusal(413, "image_too_large", f"the image has more than {_mebibytes(most)}; shrink it", param=name)
    if isinstance(source, bytes):
        return source
    data = _DATA.match(source)
    try:
        # Mail's form of base64, which `base64 FILE` prints too, has line breaks.
        decoded = base64.b64decode("".join(source[data.end() if data else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        text = "this is no base64; send the file itself in base64, for no link and no path is opened"
        raise Refusal(422, "image_not_base64", text, param=name) from None
    return _file(name, decoded, limits)
