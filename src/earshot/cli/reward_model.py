"""The options that name a reward model, the same for every command that asks one."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from earshot.errors import InputError
from earshot.types import RedactionLevel

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel
    from earshot.judging.served import Client
    from earshot.listener.spec import ListenerSpec

Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.")]
Prompt = Annotated[
    str, typer.Option("--prompt", help="What the images were made from, or how the original was to be edited.")
]
Original = Annotated[
    str | None, typer.Option("--original", help="The image file of which all are edits; the prompt is the instruction.")
]
MaxNewTokens = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="Longer completions are cut, and malformed.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where it is computed.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"], typer.Option("--dtype", help="bfloat16 on a GPU where it is auto.")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", min=1, help="Larger images are shrunk to so many; the reasoner's own limit by default."
    ),
]
MinPixels = Annotated[
    int | None,
    typer.Option(
        "--min-pixels", min=1, help="Smaller images are enlarged to so many; the reasoner's own limit by default."
    ),
]
ImageBackendName = Annotated[
    Literal["pil", "torchvision"] | None,
    typer.Option("--image-backend", help="Who scales images; by default as the reasoner was trained, or pil."),
]
Prompts = Annotated[
    str | None,
    typer.Option("--prompts", help="How the reasoner is asked: a YAML file or a name; its folder's own by default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, with the fields that Python gives.")]


@dataclass(frozen=True)
class ModelOptions:
    """Who judges, and who reads along."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="A model folder, a hub id, world:reasoner, http://HOST/v1#NAME, or http://HOST:PORT of a server.",
        ),
    ]
    listener: Annotated[
        list[str] | None,
        typer.Option(
            "--listener", help="Who re-reads the traces: a model or an address, [NAME=]MODEL[,KEY=VALUE…]. Repeatable."
        ),
    ] = None
    checker: Annotated[
        list[str] | None,
        typer.Option("--checker", help="Who is asked of every claim of a trace: a model, [NAME=]MODEL. Repeatable."),
    ] = None
    decide: Annotated[
        str, typer.Option("--decide", help="Whose p is the answer: author, the reasoner, or the name of a listener.")
    ] = "author"
    samples: Annotated[int, typer.Option("--samples", min=1, help="Completions for each order of the images.")] = 1
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="Of the sampling; 0 is greedy.")] = 1.0
    max_new_tokens: MaxNewTokens = 512
    redaction: Annotated[
        RedactionLevel,
        typer.Option("--redaction", help="What a trace loses before a listener reads it."),
    ] = "verdict"
    device: Device = "auto"
    dtype: Dtype = "auto"
    min_pixels: MinPixels = None
    max_pixels: MaxPixels = None
    image_backend: ImageBackendName = None
    prompts: Prompts = None

    def listeners(self) -> "dict[str, ListenerSpec]":
        """Listeners by the name to report: NAME of NAME=MODEL, else the source's own.

        Raises:
            InputError: Two have the same name, or one is not said as it must be.
        """
        from earshot.listener.spec import parse_listeners

        return parse_listeners(self.listener or [])

    def load(self, *, batch_size: int = 16, lenient: bool = False, **engine: Any) -> "RewardModel":
        """The model of these options; further ones say who computes it.

        Raises:
            InputError: An option makes no sense, or what a model needs is not installed.
            ModelError: There is no such model.
        """
        from earshot.predictions.judgement import check_decide

        named = self.listeners()
        check_decide(self.decide, list(named), self.redaction)
        need_torch()
        from earshot.cli.progress import quiet_loading
        from earshot.judging.model import load

        quiet_loading()
        return load(
            **{one.name: getattr(self, one.name) for one in fields(self)}
            | {"listener": named, "checker": self.checker or (), "batch_size": batch_size, "lenient": lenient}
            | engine
        )

    def load_aloud(self, **how: Any) -> "RewardModel | Client":
        """The model, or a server's; with a line on stderr where there is something to know before its first verdict."""
        from earshot.judging.served import Client, is_served

        if is_served(self.model):
            self._leave_to_server()
            return Client(self.model)
        model = self.load(**how)
        tell_note(model.note)
        return model

    def _leave_to_server(self) -> None:
        """Sees that nothing is asked for that a server decides.

        Raises:
            InputError: Something is.
        """
        for option in fields(self):
            # Which device a job's workers have is no wish of the user's.
            if option.name not in ("model", "device") and getattr(self, option.name) != option.default:
                name = option.name.replace("_", "-")
                raise InputError(
                    f"--{name} is for models that are loaded here, and {self.model} has its own; give it to 'earshot "
                    "serve'"
                )

    def from_anywhere(self) -> "ModelOptions":
        """The same for a process that works in another folder: the models' folders by their absolute paths."""
        from earshot.listener.spec import absolute, parse_listeners

        def named(texts: list[str] | None) -> list[str]:
            return [str(replace(one.absolute(), name=name)) for name, one in parse_listeners(texts or ()).items()]

        prompts = None if self.prompts is None else absolute(self.prompts)
        return replace(
            self,
            model=absolute(self.model),
            prompts=prompts,
            listener=named(self.listener),
            checker=named(self.checker),
        )


_TOLD: ContextVar[set[str] | None] = ContextVar("notes that were told", default=None)


@contextmanager
def told_once() -> Iterator[None]:
    """Within it each note is told once, however many commands are carried out."""
    before = _TOLD.set(set())
    try:
        yield
    finally:
        _TOLD.reset(before)


def tell_note(note: str | None) -> None:
    """Says what to know of a model before its first verdict, beside the output."""
    from earshot.images import printable

    told = _TOLD.get()
    if note is None or (told is not None and note in told):
        return
    if told is not None:
        told.add(note)
    typer.echo(printable(note), err=True)


def need_torch() -> None:
    """Sees that a model can be loaded at all.

    Raises:
        InputError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("a reward model needs torch and transformers; pip install 'earshot-rm[train]'")


def load_share(number: int, *, of: int, load: "Callable[[], RewardModel]") -> "RewardModel":
    """The model in one of several processes, on its part of the machine: a GPU, or some of the cores.

    Args:
        number: Of this process.
        of: How many there are.
        load: Makes the model; what it raises is raised.
    """
    if of > 1 and importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(number % torch.cuda.device_count())
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, cores() // of))
    return load()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_lines(text: str, indent: str = "  ") -> None:
    """Prints what a model wrote, in which control characters are told and not obeyed."""
    from earshot.images import printable

    for line in text.strip().splitlines():
        typer.echo(f"{indent}{printable(line)}")
