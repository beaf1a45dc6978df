"""The options that name a reward model, the same for every command that asks one."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from earshot.judging import RewardModel

Model = Annotated[str, typer.Option("--model", help="The reasoner: a model folder, a hub id, or world:reasoner.")]
Listeners = Annotated[
    list[str],
    typer.Option(
        "--listener",
        help="Who re-reads the traces: a model named alike, or a server's address; NAME=MODEL. Repeatable.",
    ),
]
Decide = Annotated[
    str, typer.Option("--decide", help="Whose p is the answer: author, the reasoner, or the name of a listener.")
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Completions for each order of the images.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="Of the sampling; 0 is greedy.")]
MaxNewTokens = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="Longer completions are cut, and malformed.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32 or bfloat16.")]
Prompt = Annotated[str, typer.Option("--prompt", help="What the images were made from.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, with the fields that Python gives.")]


def load_reward_model(
    model: str,
    listeners: "Sequence[str] | Mapping[str, str]",
    *,
    decide: str = "author",
    samples: int,
    temperature: float,
    max_new_tokens: int,
    device: str,
    dtype: str,
    batch_size: int = 16,
    redaction: str = "verdict",
    lenient: bool = False,
) -> "RewardModel":
    """The model of these options.

    Raises:
        InputError: An option makes no sense, or what a model needs is not installed.
        ModelError: There is no such model.
    """
    from earshot.errors import InputError
    from earshot.predictions.judgement import check_decide

    if dtype not in ("auto", "float32", "bfloat16"):
        raise InputError(f"--dtype is {dtype!r}, expected auto, float32 or bfloat16")
    if redaction not in ("none", "answer", "verdict"):
        raise InputError(f"--redaction is {redaction!r}, expected none, answer or verdict")
    if samples > 1 and temperature == 0:
        raise InputError("--temperature 0 is greedy, so that several --samples would be equal; use --samples 1")
    named = listeners_by_name(listeners)
    check_decide(decide, list(named), redaction)
    if importlib.util.find_spec("torch") is None:
        raise InputError("a reward model needs torch and transformers; pip install 'earshot[train]'")
    from earshot.judging import load

    return load(
        model,
        listener=named,
        decide=decide,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        redaction=redaction,  # type: ignore[arg-type]
        lenient=lenient,
    )


def listeners_by_name(listeners: "Sequence[str] | Mapping[str, str]") -> dict[str, str]:
    """Listeners by the name to report: NAME of NAME=MODEL, else the source's own.

    Raises:
        InputError: Two have the same name.
    """
    from earshot.errors import InputError

    if isinstance(listeners, Mapping):
        return dict(listeners)
    named: dict[str, str] = {}
    for given in listeners:
        name, _, source = given.rpartition("=")
        name = name or (source if source.startswith(("world:", "http:", "https:")) else Path(source).resolve().name)
        if name in named:
            raise InputError(f"two listeners are called '{name}'; tell them apart with --listener NAME=MODEL")
        named[name] = source
    return named


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
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // of))
    return load()


def print_lines(text: str, indent: str = "  ") -> None:
    """Prints what a model wrote, in which control characters are told and not obeyed."""
    from earshot.images import printable

    for line in text.strip().splitlines():
        typer.echo(f"{indent}{printable(line)}")
