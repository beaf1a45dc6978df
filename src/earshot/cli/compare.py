"""`earshot compare`: which of two images people prefer for a prompt, and why."""

from typing import TYPE_CHECKING

import typer

from earshot.cli.reward_model import (
    AsJson,
    Device,
    Dtype,
    Listener,
    MaxNewTokens,
    Model,
    Prompt,
    Samples,
    Seed,
    Temperature,
    load_reward_model,
    print_lines,
)

if TYPE_CHECKING:
    from earshot.judge import Comparison


def compare_command(
    model: Model,
    prompt: Prompt,
    first: str = typer.Argument(help="An image file."),
    second: str = typer.Argument(help="The other."),
    listener: Listener = None,
    samples: Samples = 1,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Say which of two images people prefer for a prompt, judged in both orders of the images."""
    import json

    from earshot.judge.comparison import check_prompt
    from earshot.judge.pictures import take_picture

    # Looked at before anything slow, so that a wrong path fails at once.
    check_prompt(prompt)
    one, other = (take_picture(path, argument=name).image for path, name in ((first, "FIRST"), (second, "SECOND")))
    reward_model = load_reward_model(
        model,
        listener,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        device=device,
        dtype=dtype,
    )
    told = reward_model.compare(prompt=prompt, first=one, second=other, seed=seed)
    if as_json:
        typer.echo(json.dumps(told.as_dict(), indent=2))
    else:
        print_comparison(told)


def print_comparison(told: "Comparison") -> None:
    """The verdict, what it rests on, and a trace."""
    if told.p_first is None:
        typer.echo(f"no verdict: {told.malformed} of {len(told.traces)} completions are malformed")
    else:
        agree = "both orders agree" if told.orders_agree else "the two orders disagree"
        typer.echo(f"{told.verdict or 'neither'}: p(first) = {told.p_first:.4f}, {agree}")
    for name, p in (("first shown first", told.p_first_forward), ("second shown first", told.p_first_swapped)):
        typer.echo(f"  {name}: {'no verdict' if p is None else f'{p:.4f}'}")
    if told.p_first_listener is not None:
        typer.echo(f"  the listener, from the traces: {told.p_first_listener:.4f}")
    for trace in told.traces:
        shown = "first, second" if trace.order == "forward" else "second, first"
        typer.echo(f"\nshown {shown}: {trace.side or f'malformed ({trace.malformed})'}")
        print_lines(trace.text)
