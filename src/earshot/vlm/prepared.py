"""What image processors make of a picture, made once for all models that see it alike.

A step of training shows the same pictures to the reasoner, the listener and the checkers, and judging shows each in
both orders, to the reasoner and to every listener. To scale a picture of 1024 px and cut it into patches takes 40 ms.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature

_ROOM_BYTES: Final = 2**30  # patches of 75 pictures of 756 px
_PIXELS, _GRID = "pixel_values", "image_grid_thw"


class PreparedPictures:
    """Pictures as processors have made them, those that were asked for last.

    Args:
        room_bytes: How much is kept.
    """

    def __init__(self, room_bytes: int = _ROOM_BYTES) -> None:
        self._room, self._held = room_bytes, 0
        self._made: OrderedDict[bytes, dict[str, torch.Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> dict[str, torch.Tensor] | None:
        """What was kept under a key."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
            return self._made.get(key)

    def keep(self, key: bytes, made: dict[str, torch.Tensor]) -> None:
        """Keeps what was made, and lets go of what was not asked for longest."""
        with self._lock:
            self._held += _bytes(made) - _bytes(self._made.pop(key, {}))
            self._made[key] = made
            while self._held > self._room:
                self._held -= _bytes(self._made.popitem(last=False)[1])

    def forget(self) -> None:
        """Keeps nothing."""
        with self._lock:
            self._made.clear()
            self._held = 0


PREPARED: Final = PreparedPictures()


class _Remembering:
    """Stands before a class of image processors and asks it only for pictures that it has not made."""

    stock: type[Any]
    """The class."""

    def __reduce__(self) -> Any:
        plain = object.__new__(self.stock)
        plain.__dict__.update(self.__dict__)
        return remembering, (plain,)

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """As the class's own."""
        stock: Any = super()
        pictures = _flat(images)
        if pictures is None or args or kwargs.get("return_tensors") != "pt":
            return stock.preprocess(images, *args, **kwargs)
        how = repr((self.stock, sorted(vars(self).items()), sorted(kwargs.items())))
        keys = [_key(how, picture) for picture in pictures]
        made = {key: found for key in keys if (found := PREPARED.get(key)) is not None}
        missing = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in made}
        if missing:
            found = stock.preprocess([*missing.values()], *args, **kwargs)
            apart = _apart(found, len(missing))
            if apart is None:
                return stock.preprocess(images, *args, **kwargs)
            for key, one in zip(missing, apart, strict=True):
                made[key] = one
                PREPARED.keep(key, one)
        rows = [made[key] for key in keys]
        if len({one[_PIXELS].shape[1:] for one in rows}) > 1:
            return stock.preprocess(images, *args, **kwargs)
        # A copy, which callers may write in.
        return BatchFeature({name: torch.cat([one[name] for one in rows]) for name in rows[0]})


def remembering(processor: Any) -> Any:
    """An image processor that makes each picture once for all processors of its class and settings."""
    kind = type(processor)
    processor.__class__ = type(kind.__name__, (_Remembering, kind), {"__module__": kind.__module__, "stock": kind})
    return processor


def forgetting(processor: Any) -> Any:
    """An image processor as its own class has it, which makes every picture anew."""
    processor.__class__ = getattr(type(processor), "stock", type(processor))
    return processor


def _flat(images: Any) -> list[Image.Image] | None:
    """The pictures of several rows, or of one, in order; None where they are not all decoded ones."""
    rows = images if isinstance(images, list | tuple) else [images]
    flat = [picture for row in rows for picture in (row if isinstance(row, list | tuple) else [row])]
    return flat if flat and all(isinstance(picture, Image.Image) for picture in flat) else None


def _key(how: str, picture: Image.Image) -> bytes:
    digest = blake2b(repr((how, picture.mode, picture.size)).encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.digest()


def _apart(made: Mapping[str, Any], pictures: int) -> Sequence[dict[str, torch.Tensor]] | None:
    """What was made of each picture; None where that cannot be told apart, or hangs on the pictures beside it."""
    pixels, grid = made.get(_PIXELS), made.get(_GRID)
    if not isinstance(pixels, torch.Tensor) or set(made) - {_PIXELS, _GRID}:
        return None
    if grid is None:
        if pixels.dim() != 4 or pixels.size(0) != pictures:
            return None
        return [{_PIXELS: one.clone()} for one in pixels.split(1)]
    patches = grid.prod(-1).tolist()
    if len(patches) != pictures or sum(patches) != pixels.size(0):
        return None
    parts = zip(pixels.split(patches), grid.split(1), strict=True)
    return [{_PIXELS: one.clone(), _GRID: size.clone()} for one, size in parts]


def _bytes(made: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in made.values())
