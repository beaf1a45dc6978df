"""The equality table: how far every way to train on shared prefixes is from TRL's own trainer, in float32 on a CPU.

python -m benchmarks.equality        writes benchmarks/equality.json and prints the table
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.train.equality import CASES, FAMILIES, both, differences, in_two_processes, train

COLUMNS = ("loss", "grad_norm", "kl", "entropy", "gradient")


def main() -> None:
    rows = []
    for family in FAMILIES:
        for lora in (False, True):
            for case, trl in CASES.items():
                with tempfile.TemporaryDirectory() as out:
                    found = differences(*both(lambda side: train(side, Path(out), family, lora=lora, **trl)))  # noqa: B023
                rows.append({"family": family, "trained": "LoRA" if lora else "all", "case": case, **found})
            with tempfile.TemporaryDirectory() as out:
                found = differences(*in_two_processes(Path(out), family, lora=lora))
            rows.append({"family": family, "trained": "LoRA" if lora else "all", "case": "two processes", **found})
    print(f"{'family':12}{'trained':9}{'case':30}" + "".join(f"{name:>11}" for name in COLUMNS))
    for row in rows:
        numbers = "".join(f"{row.get(name, float('nan')):11.1e}" for name in COLUMNS)
        print(f"{row['family']:12}{row['trained']:9}{row['case']:30}{numbers}")
    versions = {name: version(name) for name in ("torch", "transformers", "trl", "peft")}
    text = json.dumps({"command": "python -m benchmarks.equality", "versions": versions, "rows": rows}, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
