"""What a model may bring with it, looked at before anything of it is loaded.

Weights are safetensors that lie in the model's own folder, and nothing runs that a folder brings or names. transformers
by itself would follow an index or an adapter to pickled files and out of the folder, and passes over code unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from huggingface_hub import constants, file_exists, try_to_load_from_cache
from transformers.utils import cached_file

from earshot.errors import InputError, ModelError, ModelOutOfReach, short
from earshot.files import read_json_object

WORLD: Final = "world:"  # begins the name of a model that ships with Earshot, and lies there:
WORLD_WEIGHTS: Final = Path(__file__).parents[1] / "world" / "weights"
CONFIG: Final = "config.json"
ADAPTER: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_WEIGHTS: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_TELLING: Final = (
    *(CONFIG, ADAPTER, "tokenizer_config.json", "processor_config.json"),
    *("preprocessor_config.json", "video_preprocessor_config.json"),
)
_CODE: Final = ("auto_map", "megatron_config")  # keys by which transformers and PEFT would import what a folder names


def world_model(name: str, weights: Path = WORLD_WEIGHTS) -> Path:
    """The folder of a warm model that ships with Earshot, from `world:NAME`.

    Args:
        name: Such as `world:reasoner`.
        weights: Where the models lie.

    Raises:
        ModelError: There is no such model; the message lists those there are.
    """
    folder = weights / name.removeprefix(WORLD)
    known = sorted(config.parent.name for config in weights.glob("*/config.json"))
    if folder.name not in known or folder.parent != weights:
        models = ", ".join(WORLD + other for other in known) or "none in this installation"
        raise ModelError(f"{name}: no such model, expected one of: {models}; 'earshot world pretrain' makes them")
    return folder


def place_of(source: str | Path) -> str:
    """Where a model is: a folder, or a hub id.

    Raises:
        ModelError: It is neither; the message says where in the folder a model lies, if one does.
    """
    if not str(source).strip():
        raise ModelError(
            f"a model is called {str(source)!r}, expected a folder, a hub id or a name such as world:reasoner"
        )
    path = world_model(str(source)) if str(source).startswith(WORLD) else Path(source)
    if path.is_dir():
        if not any((path / name).is_file() for name in (CONFIG, ADAPTER)):
            inner = [file.parent for pattern in ("*", "*/model") for file in path.glob(f"{pattern}/{CONFIG}")]
            hint = f"; a model is in {' and in '.join(map(str, sorted(inner)[:3]))}" if inner else ""
            raise ModelError(f"{source}: the folder holds no {CONFIG}, expected one written by save_pretrained{hint}")
    elif path.exists():
        raise ModelError(f"{source}: not a folder, expected one with {CONFIG} and safetensors, or a hub id")
    elif path.is_absolute() or str(source).startswith((".", "~")) or len(path.parts) > 2 or _lies_in_a_folder(path):
        raise ModelOutOfReach(f"{source}: no such folder, expected one with {CONFIG} and safetensors, or a hub id")
    return str(path)


def _lies_in_a_folder(path: Path) -> bool:
    return len(path.parts) == 2 and path.parent.is_dir()


def is_adapter(place: str) -> bool:
    """Whether a folder is an adapter of PEFT's, without a model beside it."""
    folder = Path(place)
    return (folder / ADAPTER).is_file() and not any((folder / name).exists() for name in (_WEIGHTS, _INDEX))


def base_of(adapter: str) -> str:
    """The model that an adapter was trained on, as the adapter names it.

    Raises:
        ModelError: It names none, or leads back to itself.
    """
    places, bases = [adapter], []
    while is_adapter(places[-1]):
        base = read(Path(places[-1]) / ADAPTER).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise ModelError(
                f"{places[-1]}: {ADAPTER} has no base_model_name_or_path; name the model it was trained on"
            )
        bases.append(base)
        try:
            places.append(place_of(base))
        except ModelError as error:
            raise ModelError(f"{places[-1]}: an adapter of {base}, which cannot be loaded: {error}") from error
        if Path(places[-1]).resolve() in [Path(place).resolve() for place in places[:-1]]:
            raise ModelError(f"{adapter}: an adapter of itself by its base_model_name_or_path, expected a model's name")
    return bases[0]


def check(place: str, *, weights: bool = True) -> None:
    """Refuses what a model must not bring: weights that are no safetensors or lie elsewhere, and code.

    Args:
        place: From `place_of`; of a hub id, files are asked of the hub, or of its cache where it is away.
        weights: Whether its weights are to be read, and so must be there.

    Raises:
        ModelError: It brings such a thing, or a part of its weights is missing; the message names the file.
    """
    told = {name: read(file) for name in _TELLING if (file := _file(place, name)) is not None}
    for name, said in told.items():
        for key, value in _pairs(said):
            if (key in _CODE and value) or ("_implementation" in key and "/" in str(value)):
                raise ModelError(
                    f"{place}: {name} names code to be run ({key}: {short(value)}), and none of a model's is run here; "
                    "where transformers has the family itself, take the key out of a copy"
                )
    names = _names(place, told.get(CONFIG, {}).get("transformers_weights"), weights=weights)
    if ADAPTER in told:
        if names or not Path(place).is_dir():
            found = "a model and an adapter" if names else "an adapter that is no folder"
            raise ModelError(f"{place}: {found} ({ADAPTER}); expected a model, or the folder of an adapter alone")
        names = [_ADAPTER_WEIGHTS]
    for name in names:
        _check_weights(place, name, there=weights)
    if weights and not names:
        missing = f"neither {_WEIGHTS} nor {_INDEX} is there"
        if not Path(place).is_dir():
            raise OSError(missing)  # as of every file that the hub does not give
        raise ModelError(f"{place}: {missing}; save its weights with safetensors")


def _names(place: str, told: Any, *, weights: bool) -> list[str]:
    """The files that its weights are in, whatever they are called: those of the index where there is one."""
    files = [told] if told else [_INDEX, _WEIGHTS] if weights or Path(place).is_dir() else [_INDEX]
    names: list[str] = []
    for name in files:
        if name != _INDEX:
            names += [str(name)] if told or _is_there(place, name) else []
        elif (file := _file(place, name)) is not None:
            found = read(file).get("weight_map")
            if not isinstance(found, dict) or not found:
                raise ModelError(f"{place}: {name} has no weight_map, expected the file of each weight; copy it again")
            names += sorted({*map(str, found.values())})
    return names


def _check_weights(place: str, name: str, *, there: bool) -> None:
    """Raises:
    ModelError: A file of weights is not safetensors, is not there, or lies outside the folder.
    """
    path, folder = PurePosixPath(name), Path(place)
    if path.suffix != ".safetensors":
        raise ModelError(f"{place}: weights are to be read from {name!r}, expected *.safetensors; save them so")
    if path.is_absolute() or ".." in path.parts or (folder.is_dir() and not _lies_within(folder, folder / path)):
        raise ModelError(f"{place}: weights are to be read from {name!r}, which lies outside the folder; copy it there")
    if there and folder.is_dir() and not (folder / path).is_file():
        raise ModelError(f"{place}: {name!r} with weights is missing; copy the folder again")


def _lies_within(folder: Path, file: Path) -> bool:
    """Whether a file is in a folder when links are followed; the hub's cache links to files that repositories share."""
    root = folder.resolve()
    homes = [root]
    if root.parent.name == "snapshots" and root.parents[1].name.startswith("models--"):
        homes += [root.parents[1] / "blobs", root.parents[2] / "blobs"]
    return any(file.resolve().is_relative_to(home) for home in homes)


def _file(place: str, name: str) -> Path | None:
    """A file of a model, or None; what lies in a folder is taken to be there even where a link leads nowhere."""
    if Path(place).is_dir():
        file = Path(place) / name
        return file if file.exists() or file.is_symlink() else None
    # Where the hub is asked, each file is looked at; where it is away, what is not in the cache is not loaded either.
    found = cached_file(
        place,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=not constants.HF_HUB_OFFLINE,
    )
    return None if found is None else Path(found)


def _is_there(place: str, name: str) -> bool:
    """Whether a model has a file, which of the hub is not fetched for this."""
    if Path(place).is_dir():
        return _file(place, name) is not None
    cached = isinstance(try_to_load_from_cache(place, name), str)
    return cached or (not constants.HF_HUB_OFFLINE and file_exists(place, name))


def read(file: Path) -> dict[str, Any]:
    """What a file of a model says.

    Raises:
        ModelError: It is no JSON object, or cannot be read.
    """
    try:
        return read_json_object(file, what="what a model says of itself")
    except InputError as error:
        raise ModelError(str(error)) from error


def _pairs(told: Any) -> Iterator[tuple[str, Any]]:
    """Keys with their values at any depth."""
    left = [told]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield from one.items()
            left += one.values()
        elif isinstance(one, list):
            left += one
