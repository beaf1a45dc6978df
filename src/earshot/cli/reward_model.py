"""The options that name a reward model, the same for every command that asks one."""

import importlib.util
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from earshot.judge import RewardModel

Model = Annotated[str, typer.Option("--model", help="The reasoner: a model folder, a hub id, or world:reasoner.")]
Listener = Annotated[
    str | None, typer.Option("--listener", help="A model that re-reads the traces, named alike, or a server's address.")
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
    listener: str | None,
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    device: str,
    dtype: str,
    batch_size: int = 16,
) -> "RewardModel":
    """The model of these options.

    Raises:
        InputError: An option makes no sense, or what a model needs is not installed.
        ModelError: There is no such model.
    """
    from earshot.errors import InputError

    if dtype not in ("auto", "float32", "bfloat16"):
        raise InputError(f"--dtype is {dtype!r}, expected auto, float32 or bfloat16")
    if importlib.util.find_spec("torch") is None:
        raise InputError("a reward model needs torch and transformers; pip install 'earshot[train]'")
    from earshot.judge import load

    return load(
        model,
        listener=listener,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )


def print_lines(text: str, indent: str = "  ") -> None:
    """Prints what a model wrote, in which control characters are told and not obeyed."""
    from earshot.images import printable

    for line in text.strip().splitlines():
        typer.echo(f"{indent}{printable(line)}")
