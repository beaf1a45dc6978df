"""From a YAML file and `key=value` overrides to one frozen configuration, or to an error of one line."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from earshot.config.yaml_text import compose, line_of
from earshot.errors import ConfigError, InputError, one_line
from earshot.files import read_regular

_UNIONS = (typing.Union, types.UnionType)
MAX_BYTES = 1_000_000
"""A configuration is a page of text; a larger file is something else given by mistake."""


class Config(BaseModel):
    """Base of every configuration: frozen, strict about types, and an unknown key is an error.

    `to_yaml` of its `model_dump()`, the plain values with all defaults, is `config.yaml` of a run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """What has a key that this configuration has not, by the key."""


C = TypeVar("C", bound=Config)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name most like `name`; None where nothing is alike."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text under the rules of YAML 1.2: `1e-5` is a number, `no` is a word.

    Raises:
        ConfigError: The text is not YAML, or uses an alias, a tag or a repeated key.
    """
    try:
        return compose(text)[0]
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_problem(error)) from error


def load_config(cls: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Read a configuration from a YAML file.

    Relative paths inside it mean what they mean on the command line: relative to the working directory.

    Args:
        cls: The configuration to build.
        path: The YAML file, or the name of one that comes with Earshot.
        overrides: `key.sub=value`, each value read as YAML; they win over the file, the last one over the others.
            `key=` and `key=null` both set None.

    Raises:
        ConfigError: The file is missing, empty or no YAML; a key is unknown, repeated or missing; a value is
            impossible. One line with the file, the line, the key, what was expected and the nearest known key.
    """
    path = Path(path)
    text = _read(path)
    try:
        tree, node = compose(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_yaml_problem(error)}") from error
    if tree is None:
        raise ConfigError(f"{path}: empty, expected the keys {_known_keys(cls)}; the files in configs/ are examples")
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__}, expected the keys {_known_keys(cls)}")
    overridden = [_apply_override(tree, override) for override in overrides]
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, cls, path, node, overridden)) from error


def build_config(cls: type[C], tree: dict[str, Any], where: str) -> C:
    """A configuration from plain values that a program put together.

    Args:
        cls: The configuration to build.
        tree: Its keys and values, as YAML would give them.
        where: What to call it in messages.

    Raises:
        ConfigError: As `load_config`.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, cls, where, None, [])) from error


def shipped() -> dict[str, Path]:
    """The configurations that come with Earshot by name, such as `qwen2.5-vl-7b-lora` and `experiments/smoke`."""
    package = Path(__file__).resolve().parents[1]
    folders = package / "configs", package.parents[1] / "configs"  # of a wheel, and of a checkout
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for folder in folders
        for file in sorted(folder.rglob("*.yaml"))
    }


def _read(path: Path) -> str:
    expected = "a YAML configuration, or the name of one that comes with Earshot"
    if not path.exists() and not path.is_absolute():
        known = shipped()
        close = nearest(path.with_suffix("").as_posix().removeprefix("configs/"), known, cutoff=0.8)
        expected += f", such as '{close}'" if close else f" ({', '.join(known)})"
        path = known.get(path.as_posix(), path)
    try:
        return read_regular(path, MAX_BYTES, what=expected).decode()
    except InputError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}, expected {expected}") from error


def _yaml_problem(error: yaml.YAMLError) -> str:
    """The place and the problem of a YAML error, without the extract of the text that PyYAML appends."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    place = f"{mark.line + 1}: " if mark is not None else " "
    return place + one_line(problem)


def _apply_override(tree: dict[str, Any], override: str) -> tuple[tuple[str, ...], str]:
    """Set one `key.sub=value` in the tree, and say which place it set."""
    key, equals, text = override.partition("=")
    place = tuple(key.split("."))
    if not equals or not all(place):
        raise ConfigError(f"override {override!r}: expected key=value or key.sub=value")
    try:
        value = compose(text)[0]
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is no YAML (column {_yaml_problem(error)})") from error
    table = tree
    for i, step in enumerate(place[:-1]):
        if table.get(step) is None:
            table[step] = {}
        table = table[step]
        if not isinstance(table, dict):
            raise ConfigError(
                f"override {override!r}: {'.'.join(place[: i + 1])!r} is a value, and has no keys of its own"
            )
    table[place[-1]] = value
    return place, override


def _explain(
    error: ValidationError,
    cls: type[Config],
    path: Path | str,
    node: yaml.Node | None,
    overridden: list[tuple[tuple[str, ...], str]],
) -> str:
    problems = error.errors(include_url=False)
    # An unknown key explains a missing one, so it comes first.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    place = tuple(first["loc"])
    where = _where(path, node, place, overridden)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {_what(first, cls, place)}{more}"


def _where(
    path: Path | str,
    node: yaml.Node | None,
    place: tuple[str | int, ...],
    overridden: list[tuple[tuple[str, ...], str]],
) -> str:
    for key, override in reversed(overridden):
        if key[: len(place)] == place or place[: len(key)] == key:
            return f"override {override!r}"
    line = line_of(node, place)
    return str(path) if line is None else f"{path}:{line}"


def _what(problem: Any, cls: type[Config], place: tuple[str | int, ...]) -> str:
    key = ".".join(str(step) for step in place)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'; {_instead(cls, place)}"
    if problem["type"] == "missing":
        return f"the key '{key}' is missing"
    if problem["type"] == "value_error":
        return (f"'{key}': " if key else "") + str(problem["ctx"]["error"])
    found = repr(problem["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    expected = problem["msg"].removeprefix("Input should be ")
    if expected.startswith("a valid dictionary"):
        first, text = _first_key(cls, key) or "KEY", problem["input"] if isinstance(problem["input"], str) else "…"
        expected = f"keys of its own, as in '{place[-1] if place else key}: {{{first}: {text}}}'"
    return f"'{key}' is {found}, expected {expected}"


def _instead(cls: type[Config], place: tuple[str | int, ...]) -> str:
    """The key that may have been meant, by its whole path: one of the same table, or of that name in another."""
    *above, name = map(str, place)
    table = _config_at(cls, place[:-1])
    if other := cls.elsewhere.get(".".join(map(str, place))):
        return f"it is of {other}, the keys here are {_known_keys(table)}"
    if here := nearest(name, table.model_fields, cutoff=0.8):
        return f"the nearest known key is '{'.'.join([*above, here])}'"
    if meant := key_of(cls, name):
        return f"did you mean {' or '.join(meant)}?"
    if here := nearest(name, table.model_fields):
        return f"the nearest known key is '{'.'.join([*above, here])}'"
    libraries = [key for key in reversed(LIBRARY_KEYS) if key in cls.model_fields]
    theirs = f", and those of a library stand under {' or '.join(libraries)}" if libraries else ""
    return f"the known keys are {_known_keys(table)}{theirs}"


LIBRARY_KEYS: Final = {
    "lora": ("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save"),
    "trl": (
        *("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "bf16"),
        *("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "save_steps"),
        *("gradient_checkpointing", "num_generations", "max_completion_length", "temperature", "top_p", "beta"),
        *("report_to", "run_name", "logging_steps", "save_total_limit", "fsdp", "deepspeed", "loss_type"),
    ),
}
"""Of the tables that go to a library as they are, the keys that are asked for most."""
ALSO_CALLED: Final = {
    **{"lr": "learning_rate", "epochs": "num_train_epochs", "num_epochs": "num_train_epochs", "steps": "max_steps"},
    **{"batch_size": "per_device_train_batch_size", "batch": "per_device_train_batch_size", "rank": "r"},
    **{"alpha": "lora_alpha", "dropout": "lora_dropout", "max_new_tokens": "max_completion_length"},
    **{"group_size": "num_generations", "logger": "report_to", "wandb": "report_to", "kl": "beta"},
}
"""Names that others have for keys, and which these are."""


def key_of(cls: type[Config], name: str) -> list[str]:
    """The whole paths of keys that somebody may mean who gives only a name, or the name that others have for it."""
    wanted = {name, ALSO_CALLED.get(name, name)}
    paths = [*_paths(cls)]
    found = [path for path in paths if path.rpartition(".")[2] in wanted]
    if not found and (close := nearest(name, {path.rpartition(".")[2] for path in paths}, cutoff=0.8)):
        found = [path for path in paths if path.rpartition(".")[2] == close]
    return [f"{path}.{_first_key(cls, path)}".rstrip(".") for path in found[:3]]


def _first_key(cls: type[Config], path: str) -> str:
    """Of the table at a path the key that it needs, or its first one; empty where there is no table."""
    *above, name = path.split(".")
    if above and above[0] in LIBRARY_KEYS:
        return ""
    inside, around = _config_at(cls, (*above, name)), _config_at(cls, tuple(above))
    fields = inside.model_fields if inside is not around else {}
    own = [one for one in inside.__annotations__ if one in fields]
    return next((one for one in fields if fields[one].is_required()), next(iter(own), ""))


def _paths(cls: type[Config], above: str = "") -> Iterator[str]:
    """All keys, by their whole paths; of a library's table those that are asked for most, which come first."""
    for key, names in LIBRARY_KEYS.items():
        if not above and key in cls.model_fields and dict in _kinds(cls.model_fields[key].annotation):
            yield from (f"{key}.{name}" for name in names)
    for name, field in cls.model_fields.items():
        yield above + name
        inside = _choice(field.annotation)
        if isinstance(inside, type) and issubclass(inside, Config):
            yield from _paths(inside, f"{above}{name}.")


def _kinds(annotation: Any) -> set[Any]:
    """What a value may be, without what is in it."""
    several = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else (annotation,)
    return {typing.get_origin(one) or one for one in several}


def _config_at(cls: type[Config], place: tuple[str | int, ...]) -> type[Config]:
    """The configuration class of the table at `place`, through tables and lists of tables."""
    inside: Any = cls
    for step in place:
        if isinstance(inside, type) and issubclass(inside, Config):
            cls = inside
            field = cls.model_fields.get(str(step))
            if field is None:
                return cls
            inside = _choice(field.annotation)
        else:  # a name in a table of tables, or a place in a list of them
            kinds = [kind for kind in typing.get_args(inside) if kind is not Ellipsis]
            inside = _choice(kinds[-1]) if kinds else None
    return inside if isinstance(inside, type) and issubclass(inside, Config) else cls


def _choice(annotation: Any) -> Any:
    """Of a union the configuration, or the table of them; anything else as it is."""
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation
    choices = [choice for choice in typing.get_args(annotation) if choice is not type(None)]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, Config)), choices[0])


def _known_keys(cls: type[Config]) -> str:
    return ", ".join(cls.model_fields)
