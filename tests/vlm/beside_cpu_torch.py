"""FOLDER: lets the torchvision in it be imported beside a torch without its operators.

The wheel on the package index is built for CUDA. Beside a CPU build of torch its operators cannot be loaded, and the
import fails on two of them for want of a schema. No image processor uses them: schemas alone let it import.
"""

import sys
from pathlib import Path

_BEFORE = "@functools.lru_cache"
_SCHEMAS = """if not torchvision.extension._has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


"""


def main() -> None:
    """Writes the schemas into the file that asks for the operators."""
    file = Path(sys.argv[1]) / "torchvision" / "_meta_registrations.py"
    text = file.read_text()
    if text.count(_BEFORE) != 1:
        sys.exit(f"{file}: expected one {_BEFORE!r}; this torchvision is not the one that constraints.txt names")
    file.write_text(text.replace(_BEFORE, _SCHEMAS + _BEFORE))


if __name__ == "__main__":
    main()
