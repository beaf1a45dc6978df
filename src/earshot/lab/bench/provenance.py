"""Where a measured number comes from: command, commit, machine in general words, versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import earshot


def provenance(command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a result file says of its making; no path, no host's name.

    Args:
        command: The command without its options.
        arguments: Its options, by name.
    """
    options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in (arguments or {}).items()]
    return {
        "command": " ".join([command, *options]),
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {
            "earshot": earshot.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "jaxtyping": version("jaxtyping"),
        },
    }


def _commit() -> str | None:
    """The commit of the sources, with a + where they differ from it; None where they are in no repository."""
    here = Path(earshot.__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
