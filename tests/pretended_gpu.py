"""A pretended GPU: tensors that say they are on `cuda`, and refuse to meet those that are not, as CUDA's would.

They are tensors of the CPU with a mark. Within `PretendedGpu` what is made for, or sent to, `cuda` gets the mark, and
so does all that is computed from it. What C++ and autograd do among themselves is not seen.
"""

from __future__ import annotations

import traceback
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

CUDA: Final = torch.device("cuda", 0)
CPU: Final = torch.device("cpu")
# What may be asked of any tensor and makes no other: sizes, flags, hooks.
_LOOKS: Final = {
    "__get__", "__set__", "__repr__", "__format__", "__len__", "__hash__", "__dir__", "__reduce_ex__", "size", "dim",
    "ndimension", "numel", "stride", "element_size", "storage_offset", "data_ptr", "untyped_storage", "get_device",
    "is_floating_point", "is_complex", "is_contiguous", "requires_grad_", "register_hook",
}  # fmt: skip
_READS: Final = {"tolist", "item", "__bool__", "__int__", "__float__", "__index__"}  # a GPU's too, which must finish
_ACROSS: Final = {"copy_", "new_tensor", "_has_compatible_shallow_copy_type"}
_INDEXED: Final = {"__getitem__", "__setitem__", "index_put_", "index_put"}  # indices may lie on the CPU


class PretendedGpu(TorchFunctionMode):
    """Within, `cuda` is a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func == torch.Tensor.device.__get__:
            return CUDA if is_there(args[0]) else CPU
        if func == torch.Tensor.is_cuda.__get__:
            return is_there(args[0])
        if func == torch.Tensor.data.__set__:  # a module that is moved gives its weights other data
            marked(args[0], is_there(args[1]))
        if name in _LOOKS:
            found = func(*args, **kwargs)
            return marked(found) if name == "__get__" and is_there(args[0]) else found
        if name in ("to", "cpu", "cuda"):
            return self._moved(func, name, args, kwargs)
        if name == "numpy" and is_there(args[0]):
            raise TypeError("can't convert a tensor of the pretended GPU to numpy; call cpu() before")
        if name in _READS or name == "numpy":
            return func(*args, **kwargs)
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = CPU
        given = [*tensors_of(args), *tensors_of(kwargs)]
        there = any(is_there(tensor) for tensor in given)
        if there and name not in _ACROSS:
            _refuse_a_mix(name, args, given)
        found = func(*args, **kwargs)
        return marked(found) if (there if asked is None else _is_cuda(asked)) else found

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        tensor, to = args[0], is_there(args[0])
        if name != "to":
            found = tensor.view_as(tensor)
            return marked(found, name == "cuda")
        rest: list[Any] = []
        for value in (*args[1:], *([kwargs.pop("device")] if "device" in kwargs else [])):
            if isinstance(value, str | torch.device):
                to, value = _is_cuda(value), CPU
            elif isinstance(value, torch.Tensor):
                to = is_there(value)
            rest.append(value)
        found = func(tensor, *rest, **kwargs)
        # As on a GPU, what is there already is the same tensor.
        if found is tensor and to != is_there(tensor):
            found = tensor.view_as(tensor)
        return marked(found, to)


def put(model: Any) -> None:
    """Marks all of a model's weights and buffers as lying there."""
    for tensor in (*model.parameters(), *model.buffers()):
        marked(tensor)


def marked(found: Any, there: bool = True) -> Any:
    for tensor in tensors_of(found):
        tensor._on_pretended_gpu = there
    return found


def is_there(tensor: Any) -> bool:
    return getattr(tensor, "_on_pretended_gpu", False)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in tensors_of(one)]
    return []


def _is_cuda(device: Any) -> bool:
    return torch.device(device).type == "cuda"


def _refuse_a_mix(name: str, args: Any, given: list[torch.Tensor]) -> None:
    if name in _INDEXED:  # the tensor that is indexed, and what is put there
        given = [args[0], *([args[2]] if len(args) > 2 and isinstance(args[2], torch.Tensor) else [])]
        if not any(is_there(tensor) for tensor in given):
            raise RuntimeError(f"indices should be on the CPU, as what they index is ({name}): {_here()}")
    alien = [tuple(tensor.shape) for tensor in given if not is_there(tensor) and tensor.dim() > 0]
    if alien:
        raise RuntimeError(f"expected all tensors on the same device ({name}, of shape {alien[0]}): {_here()}")


def _here() -> str:
    frames = [frame for frame in traceback.extract_stack() if "/earshot/" in frame.filename]
    return " <- ".join(f"{frame.filename.rpartition('/earshot/')[2]}:{frame.lineno}" for frame in frames[:-4:-1])
