"""A mask by rule names every block that holds something seen, calls whole only what is, and is never written out."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from earshot.vlm.prefix.attention import mask_by_rule
from tests.vlm.models import fresh

BLOCK = 128


def row(prompt: int, completions: list[int], padding: int) -> list[int]:
    """The segments of a packed row."""
    own = [number for number, length in enumerate(completions, start=1) for _ in range(length)]
    return [0] * prompt + own + [-1] * padding


ROWS = {
    "short": [row(40, [5, 7], 0)],
    "many blocks": [row(300, [130, 3, 200, 90], 0)],
    "padded": [row(300, [130, 3], 0) + [-1] * 290, row(20, [400, 300], 3)],
    "all of a block": [row(256, [128, 256, 128], 0)],
    "a prompt alone": [row(500, [], 12)],
}


def listed(number: torch.Tensor, which: torch.Tensor, blocks: int) -> torch.Tensor:
    """Which blocks of keys each block of queries has, (rows, queries, keys)."""
    found = torch.zeros(number.size(0), blocks, blocks, dtype=torch.bool)
    for n, q in torch.cartesian_prod(torch.arange(number.size(0)), torch.arange(blocks)).tolist():
        found[n, q, which[n, 0, q, : number[n, 0, q]].long()] = True
    return found


@pytest.mark.parametrize("name", ROWS)
def test_blocks_are_those_of_the_written_mask(name: str) -> None:
    segments = torch.tensor(ROWS[name])
    n, length = segments.shape
    mask = mask_by_rule(fresh("qwen2_5_vl").model, segments)
    at = torch.arange(length)
    causal = at[:, None] >= at[None]
    exact = causal & ((segments[:, :, None] == segments[:, None]) | (segments[:, None] == 0))
    by_rule = mask.mask_mod(torch.arange(n)[:, None, None], torch.tensor(0), at[:, None], at[None])
    assert torch.equal(by_rule, exact)
    blocks = -(-length // BLOCK)
    padded = torch.zeros(n, blocks * BLOCK, blocks * BLOCK, dtype=torch.bool)
    padded[:, :length, :length] = exact
    by_block = padded.unflatten(1, (blocks, BLOCK)).unflatten(3, (blocks, BLOCK))
    some, whole = by_block.any(4).any(2), by_block.all(4).all(2)
    assert mask.full_kv_num_blocks is not None and mask.full_kv_indices is not None
    partly = listed(mask.kv_num_blocks, mask.kv_indices, blocks)
    wholly = listed(mask.full_kv_num_blocks, mask.full_kv_indices, blocks)
    assert not (some & ~(partly | wholly)).any()  # nothing that is seen is left out
    assert not (wholly & ~whole).any() and not (partly & wholly).any()
    if name == "many blocks":
        assert wholly.any() and not (partly | wholly).all()  # something is left out, and something asks no rule


def test_nothing_grows_with_the_square_of_the_length() -> None:
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = func(*args, **(kwargs or {}))
            for one in made if isinstance(made, tuple | list) else (made,):
                if isinstance(one, torch.Tensor):
                    self.numbers = max(self.numbers, one.numel())
            return made

    model, segments = fresh("qwen2_5_vl").model, torch.tensor([row(1500, [256] * 16, 0)])  # 5,596 tokens
    with Largest() as seen:
        mask_by_rule(model, segments)
    assert seen.numbers <= 2 * segments.numel()  # a written mask has 5,596 for each of them
