"""Options that several commands share: a dataclass of them is one parameter of each."""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Roots = Annotated[
    list[Path] | None,
    typer.Option(
        "--root",
        help="A further folder in which the set's images may lie, behind links or by absolute paths. Repeatable.",
    ),
]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command for Typer in which each parameter that is a dataclass stands for the dataclass's fields.

    Args:
        command: The fields are annotated as Typer's options are; it gets the dataclass, made from what was asked for.
    """
    own = inspect.signature(command, eval_str=True).parameters
    shared: dict[str, Any] = {name: one.annotation for name, one in own.items() if is_dataclass(one.annotation)}
    hints = {name: get_type_hints(group, include_extras=True) for name, group in shared.items()}

    def called(**given: Any) -> None:
        groups = {name: group(**{field: given.pop(field) for field in hints[name]}) for name, group in shared.items()}
        command(**groups, **given)

    fields = [
        field.replace(annotation=hints[name][field.name])
        for name, group in shared.items()
        for field in inspect.signature(group).parameters.values()
    ]
    rest = [one for name, one in own.items() if name not in shared]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*fields, *rest)]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__doc__ = command.__doc__
    return called
