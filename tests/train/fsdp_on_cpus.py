"""`python -m tests.train.fsdp_on_cpus WORDS`: an earshot command in which accelerate shards on CPUs as it does on GPUs.

Stock accelerate takes FSDP on CPUs for plain DDP without a word. The hook adds CPUs to its list of devices; nothing of
Earshot is changed. In each backward pass the command says which share of the weights it holds.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any

STATE = "accelerate.state"
BEFORE = "                DistributedType.MULTI_GPU,\n                DistributedType.MULTI_MLU,\n"
AFTER = BEFORE.replace("MULTI_GPU,", "MULTI_GPU,\n                DistributedType.MULTI_CPU,", 1)


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> object:  # past the cache of compiled files
        source = self.get_source(fullname)
        assert source is not None
        assert source.count(BEFORE) == 1
        return compile(source.replace(BEFORE, AFTER), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> object:
        if name != STATE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin)
        return spec


def _say_shares() -> None:
    """Tells of every step how many of the weights are in shards, and what share of them all lies here."""
    from torch.distributed.tensor import DTensor

    from earshot.train.callbacks import FiniteGuard

    before = FiniteGuard.on_pre_optimizer_step

    def told(self: Any, args: Any, state: Any, control: Any, **given: Any) -> None:
        weights = [*given["model"].parameters()]
        shards = [one.to_local().numel() for one in weights if isinstance(one, DTensor)]
        share = sum(shards) / sum(one.numel() for one in weights)
        print(f"sharded: {len(shards)} of {len(weights)}, {share:.2f} here", flush=True)
        before(self, args, state, control, **given)

    FiniteGuard.on_pre_optimizer_step = told  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.meta_path.insert(0, _Finder())
    from earshot.cli.main import main

    _say_shares()
    sys.exit(main(sys.argv[1:]))
