"""The bodies that are understood, with examples that run."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import PIL.Image
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

MAX_SEED = 2**63 - 1


def _plain_png(red: int, green: int, blue: int, side_px: int = 16) -> str:
    """A picture of one colour, for an example; made here so that no text of a kilobyte stands in the source."""
    file = BytesIO()
    PIL.Image.new("RGB", (side_px, side_px), (red, green, blue)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


RED, BLUE, GREEN = _plain_png(200, 30, 30), _plain_png(30, 30, 200), _plain_png(30, 160, 30)

# Text in JSON, the bytes of a file in multipart. Neither is looked at before the limits are.
Image: TypeAlias = Annotated[
    str | bytes,
    WithJsonSchema(
        {"type": "string", "contentEncoding": "base64", "description": "A JPEG, PNG or WebP file in base64; no link."}
    ),
]
Prompt: TypeAlias = Annotated[str, Field(min_length=1, description="What the images were made from.")]
Seed: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED, description="Of the sampling.")]


class Body(BaseModel):
    """What a route takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    timeout_s: Annotated[float, Field(gt=0, description="No answer is wanted later than this.")] | None = None
    example: ClassVar[dict[str, Any]]
    """One that runs."""
    multipart: ClassVar[bool] = True
    """Whether it may be a form, with files for images."""


class _Asked(Body):
    prompt: Prompt
    seed: Seed = 0


class CompareRequest(_Asked):
    """Which of two images people prefer; what is `measured` of each stands beside it and is no part of the verdict."""

    example = {"prompt": "a red square", "first": RED, "second": BLUE, "seed": 0}
    first: Image
    second: Image


class RankRequest(_Asked):
    """Several images of one prompt, best first."""

    example = {"prompt": "a red square", "images": [RED, BLUE, GREEN], "seed": 0}
    images: Annotated[list[Image], Field(min_length=2)]


class ScoreRequest(_Asked):
    """A number for each image: against each other, or against references."""

    example = {"prompt": "a red square", "images": [RED, BLUE], "references": [GREEN], "seed": 0}
    images: Annotated[list[Image], Field(min_length=1)]
    references: Annotated[list[Image], Field(min_length=1)] | None = None


class ListenRequest(Body):
    """What the listener concludes from each of several traces about the images as given."""

    example = {"prompt": "a red square", "first": RED, "second": BLUE, "traces": ["the first shows a red square ."]}
    prompt: Prompt
    first: Image
    second: Image
    traces: Annotated[list[str | None], Field(min_length=1, max_length=256, description="Already redacted, or null.")]


class ComputeRequest(Body):
    """Flow-Factory's remote reward: images and, for each, its prompt; those of one prompt are compared."""

    model_config = ConfigDict(extra="ignore")
    multipart = False
    example = {"prompt": ["a red square", "a red square"], "image": [RED, BLUE]}
    prompt: Annotated[list[Prompt], Field(min_length=1)]
    image: Annotated[list[Image], Field(min_length=1)]
    video: None = None
    condition_images: None = None
    condition_videos: None = None


class Turn(BaseModel):
    """A prompt and the image that was made from it."""

    text: Prompt
    image_b64: Image


class ScoreItem(BaseModel):
    """One image of UniRL's remote reward."""

    history: Annotated[list[Turn], Field(min_length=1, max_length=1)]
    required_rewards: list[str]
    request_id: str | None = None
    sample_id: str | int | None = None
    group_id: str | int | None = None
    source_rank: int | None = None
    policy_version: int | None = None
    idempotency_key: str | None = None


class BatchScoreRequest(Body):
    """UniRL's remote reward: images that share group and prompt are compared."""

    model_config = ConfigDict(extra="ignore")
    multipart = False
    example = {
        "protocol_version": "1",
        "requests": [
            {"history": [{"text": "a red square", "image_b64": image}], "required_rewards": ["win_rate"]}
            for image in (RED, BLUE)
        ],
    }
    protocol_version: Literal["1"] = "1"
    requests: Annotated[list[ScoreItem], Field(min_length=1)]
