"""The bodies that are understood, with examples that run."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

MAX_SEED = 2**63 - 1


STATIC: Final = Path(__file__).parent / "static"
PROMPT: Final = "large green square , small purple triangle"
PICTURES: Final = {
    name: base64.b64encode((STATIC / name).read_bytes()).decode() for name in ("first.png", "second.png", "third.png")
}
"""Made-up coloured shapes of the synthetic world for `PROMPT`, in base64, by the file that the server gives them as: as
asked, with a wrong colour and a tint, and without the square."""
FIRST, SECOND, THIRD = PICTURES.values()

# Text in JSON, the bytes of a file in multipart. Neither is looked at before the limits are.
Image: TypeAlias = Annotated[
    str | bytes,
    WithJsonSchema(
        {"type": "string", "contentEncoding": "base64", "description": "A JPEG, PNG or WebP file in base64; no link."}
    ),
]
Prompt: TypeAlias = Annotated[
    str, Field(min_length=1, description="What the images were made from, or how the original was to be edited.")
]
Seed: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED, description="Of the sampling.")]


ORIGINAL: Final = Field(
    description="The image of which all others are edits: needed by a model of edits, and refused by any other."
)


class Body(BaseModel):
    """What a route takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    timeout_s: Annotated[float, Field(gt=0, description="No answer is wanted later than this.")] | None = None
    example: ClassVar[dict[str, Any]]
    """One that runs."""
    answer: ClassVar[str]
    """The fields of what comes back."""
    multipart: ClassVar[bool] = True
    """Whether it may be a form, with files for images."""
    pickled: ClassVar[bool] = False
    """Whether it comes and is answered as a pickle, in which nothing but plain values is read."""


class _Asked(Body):
    prompt: Prompt
    original: Annotated[Image, ORIGINAL] | None = None
    seed: Seed = 0


class CompareRequest(_Asked):
    """Which of two images people prefer; what is measured of each stands beside it and is no part of the verdict."""

    answer = (
        "verdict (first, second or null, then reason says why), p_first and that of each order, orders_agree, p_read "
        "by listener, samples with their traces, note, measured"
    )
    example = {"prompt": PROMPT, "first": FIRST, "second": SECOND, "seed": 0}
    first: Image
    second: Image


class RankRequest(_Asked):
    """Several images of one prompt, best first."""

    answer = (
        "images (of each its rank, win_rate, and strength with a 95 % interval), order, cycles, comparisons, "
        "n_missing, note"
    )
    example = {"prompt": PROMPT, "images": [FIRST, SECOND, THIRD], "seed": 0}
    images: Annotated[list[Image], Field(min_length=2)]


class ScoreRequest(_Asked):
    """A number for each image: against each other, or against references."""

    answer = "scores: strengths, or win rates against the references; null where no comparison came out"
    example = {"prompt": PROMPT, "images": [FIRST, SECOND], "references": [THIRD], "seed": 0}
    images: Annotated[list[Image], Field(min_length=1)]
    references: (
        Annotated[list[Image], Field(min_length=1, description="Images of the prompt to measure by.")] | None
    ) = None


class ListenRequest(Body):
    """What the listener concludes from each of several traces about the images as given."""

    answer = "p_first for each trace; listener"
    example = {"prompt": PROMPT, "first": FIRST, "second": SECOND, "traces": ["the first shows a large green square ."]}
    prompt: Prompt
    first: Image
    second: Image
    original: Annotated[Image, ORIGINAL] | None = None
    traces: Annotated[list[str | None], Field(min_length=1, max_length=256, description="Already redacted, or null.")]


class ComputeRequest(Body):
    """Flow-Factory's remote reward: images and, for each, its prompt; those of one prompt are compared."""

    model_config = ConfigDict(extra="ignore")
    multipart = False
    answer = "rewards: win rates among the images of a prompt, null where no comparison came out"
    example = {"prompt": [PROMPT, PROMPT], "image": [FIRST, SECOND]}
    prompt: Annotated[list[Prompt], Field(min_length=1)]
    image: Annotated[list[Image], Field(min_length=1)]
    video: None = None
    condition_images: None = None
    condition_videos: None = None


class PickledRequest(Body):
    """verl-omni's and Flow-GRPO's, a pickle: images and, for each, its prompt; those of one prompt are compared."""

    model_config = ConfigDict(extra="ignore")
    multipart = False
    pickled = True
    answer = "a pickle of scores and, with the same values, outputs: win rates among the images of a prompt"
    example = {"prompts": [PROMPT, PROMPT], "images": [FIRST, SECOND], "metadata": {}}
    prompts: Annotated[list[Prompt], Field(min_length=1)]
    images: Annotated[list[bytes], Field(min_length=1)]


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
    answer = "results, errors and identities, one of each an image"
    example = {
        "protocol_version": "1",
        "requests": [
            {"history": [{"text": PROMPT, "image_b64": image}], "required_rewards": ["win_rate"]}
            for image in (FIRST, SECOND)
        ],
    }
    protocol_version: Literal["1"] = "1"
    requests: Annotated[list[ScoreItem], Field(min_length=1)]
