"""Imports point up the table of docs/architecture.md only. To change the shape, change the table here and there."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "earshot"

# The modules of each layer: what stands first may be imported by what stands later, never the other way round.
LAYERS: dict[int, set[str]] = {
    1: {"errors", "types", "config", "files", "locks", "rundir", "outcomes", "paths"},
    2: {
        "protocol",
        "rewards",
        "predictions",
        "preferences",
        "metrics",
        "benchmarks",
        "stats",
        "images",
        "image_sizes",
        "jpeg_scans",
        "measured",
        "web",
        "data",
        "world",
    },
    3: {"remote", "vlm", "reasoner", "listener", "judging", "adapters"},
    4: {"train", "evaluate", "serve", "report", "view"},
    5: {"cli", "__main__"},
    # Beside them: it looks at all of the product, which sees nothing of it.
    6: {"lab"},
}
# What each layer may import from outside, besides the standard library and what the layers before it may.
OUTSIDE: dict[int, set[str]] = {
    1: {"pydantic", "yaml"},
    2: {"numpy", "scipy", "PIL", "pyarrow", "jaxtyping"},
    3: {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "peft", "jinja2"},
    4: {
        "trl",
        "accelerate",
        "datasets",
        "fastapi",
        "starlette",
        "uvicorn",
        "h11",
        "matplotlib",
        "rich",
        "prometheus_client",
        "python_multipart",
    },
    5: {"typer"},
}
# Packages that only one place may import, whatever its layer.
CONFINED = {
    "trl": ("train", "lab.bench"),
    "httpx2": ("remote",),
    "stamina": ("remote",),
    "ray": ("judging.on_ray",),
    "vllm": ("vlm.on_vllm",),
}
# Applications meet in the files of a run directory; they do not import one another.
APPLICATIONS = LAYERS[4]
# Lies beside the product's own rooms up to the models: it registers its language and ships models, by name.
WORLD = "world"
# The only place that opens an image file.
OPENS_IMAGES = "images"
# What a module of the command line may import before its command is called.
LIGHT = {"typer", "rich", "earshot.errors", "earshot.types", "earshot.cli"}

# Where the modules of the command line are.
COMMANDS = ("cli", "lab.commands")

LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}


class Import(NamedTuple):
    line: int
    name: str
    """Dotted name of the imported module, or of the object imported from it."""
    when: str
    """`load` at the top of the module, `call` inside a function, `types` for the type checker only."""


def violations(package: Path) -> list[str]:
    """Everything below `package` that the tables above forbid, as `file:line: …`."""
    found: list[str] = []
    beside: dict[tuple[str, str], str] = {}
    for file in sorted(package.rglob("*.py")):
        module = ".".join(file.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        imports, problems = problems_of(file.read_text(encoding="utf-8"), module, file.name == "__init__.py")
        found += [f"{file.relative_to(package)}:{line}: {problem}" for line, problem in problems]
        for i in imports:
            # An import that is refused already is not told again as half of a circle.
            if (arrow := arrow_beside(module, i)) is not None and forbidden(module, i) is None:
                beside.setdefault(arrow, f"{file.relative_to(package)}:{i.line}")
    return found + circles(beside)


@cache
def problems_of(text: str, module: str, is_package: bool) -> tuple[list[Import], list[tuple[int, str]]]:
    """The imports of a module, and what is forbidden of it by itself, with its line."""
    tree = ast.parse(text)
    imports = list(imports_of(tree, module, is_package=is_package))
    problems = [(i.line, problem) for i in imports if (problem := forbidden(module, i))]
    problems += [(line, "opens an image outside earshot.images") for line in opened_images(tree, module, imports)]
    return imports, problems


def arrow_beside(module: str, imported: Import) -> tuple[str, str] | None:
    """The two packages of one layer that an import joins, also one inside a function; None where it joins none."""
    source, root, target = module.split(".")[0], *f"{imported.name}.".split(".")[:2]
    same = root == "earshot" and source != target and LAYER_OF.get(source, 0) == LAYER_OF.get(target, -1)
    return (source, target) if same and imported.when != "types" else None


def circles(arrows: dict[tuple[str, str], str]) -> list[str]:
    """Every import that is part of a circle of packages, by its place."""
    reached: dict[str, set[str]] = {}
    for source, target in arrows:
        reached.setdefault(source, set()).add(target)
    for _ in reached:  # a longest way goes through all of them
        for targets in reached.values():
            targets.update(*(reached.get(target, set()) for target in set(targets)))
    return [
        f"{place}: '{source}' imports '{target}', and '{target}', if through others, '{source}'"
        for (source, target), place in arrows.items()
        if source in reached.get(target, set())
    ]


def imports_of(node: ast.AST, module: str, *, is_package: bool, when: str = "load") -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(child.lineno, alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = absolute(child, module, is_package=is_package)
            yield from (Import(child.lineno, f"{base}.{alias.name}", when) for alias in child.names)
        else:
            inner = when
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner = "call"
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                inner = "types"
            yield from imports_of(child, module, is_package=is_package, when=inner)


def absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that a `from … import` names, also where it is relative."""
    if not node.level:
        return node.module or ""
    parts = ["earshot", *filter(None, module.split("."))]
    climbed = parts[: len(parts) - node.level + is_package]
    return ".".join([*climbed, *filter(None, [node.module])])


def forbidden(module: str, imported: Import) -> str | None:
    """What is wrong with one import of one module; None if nothing is."""
    top = module.split(".")[0]
    root, *rest = imported.name.split(".")
    if not top:  # earshot/__init__.py
        # What `earshot.load` needs is imported when it is asked for.
        allowed = root in sys.stdlib_module_names or (root == "earshot" and imported.when != "load")
        return None if allowed else f"earshot itself imports {imported.name}"
    if top not in LAYER_OF:
        return f"'{top}' is in no layer of the table"
    if root in sys.stdlib_module_names:
        return None
    if module.startswith(COMMANDS) and imported.when == "load" and not light(imported.name):
        return f"the command line imports {imported.name} before a command is called"
    if root == "earshot":
        return forbidden_inside(top, rest[0] if rest else "")
    return forbidden_outside(module, root, imported)


def light(name: str) -> bool:
    return name == "earshot.__version__" or any(f"{name}.".startswith(f"{module}.") for module in LIGHT)


def forbidden_inside(top: str, target: str) -> str | None:
    if target not in LAYER_OF:
        return None if target in ("", "__version__") else f"'{target}' is in no layer of the table"
    if LAYER_OF[target] > LAYER_OF[top]:
        return f"'{top}' (layer {LAYER_OF[top]}) imports '{target}' (layer {LAYER_OF[target]})"
    if target == WORLD != top and LAYER_OF[top] <= 3:
        return f"'{top}' (layer {LAYER_OF[top]}) imports the synthetic world"
    if {top, target} <= APPLICATIONS and top != target:
        return f"the application '{top}' imports the application '{target}'"
    return None


def forbidden_outside(module: str, root: str, imported: Import) -> str | None:
    if root in CONFINED:
        homes = CONFINED[root]
        inside = any(module == home or module.startswith(home + ".") for home in homes)
        return None if inside else f"'{root}' is confined to {' and '.join(f'earshot.{home}' for home in homes)}"
    layer = LAYER_OF[module.split(".")[0]]
    allowed = set().union(*(names for other, names in OUTSIDE.items() if other <= layer))
    # A name that only the type checker sees costs nothing and runs nowhere.
    if root in allowed or imported.when == "types":
        return None
    return f"'{root}' may not be imported in layer {layer}"


def opened_images(tree: ast.AST, module: str, imports: list[Import]) -> list[int]:
    """Lines that open an image file through Pillow in a module other than `images`."""
    if module.split(".")[0] == OPENS_IMAGES:
        return []
    lines = [i.line for i in imports if i.name == "PIL.Image.open"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
            # Whatever the module was imported as, Pillow's name for it is Image.
            owner = ast.unparse(node.func.value)
            if owner.endswith("Image"):
                lines.append(node.lineno)
    return lines


def test_every_import_points_up_the_table():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("errors.py", "import earshot.cli.main", "'errors' (layer 1) imports 'cli' (layer 5)"),
        ("types.py", "from earshot.protocol import x", "'types' (layer 1) imports 'protocol' (layer 2)"),
        ("types.py", "from earshot import stats", "'types' (layer 1) imports 'stats' (layer 2)"),
        ("types.py", "from . import stats", "'types' (layer 1) imports 'stats' (layer 2)"),
        ("listener/new.py", "from earshot.world.claims import x", "'listener' (layer 3) imports the synthetic world"),
        ("metrics/new.py", "def f():\n    from ..world import x", "'metrics' (layer 2) imports the synthetic world"),
        ("data/deep.py", "from ..listener import x", "'data' (layer 2) imports 'listener' (layer 3)"),
        ("data/__init__.py", "from ..listener import x", "'data' (layer 2) imports 'listener' (layer 3)"),
        ("rewards.py", "def f():\n    import earshot.listener", "'rewards' (layer 2) imports 'listener' (layer 3)"),
        ("rewards.py", "def f():\n    import torch", "'torch' may not be imported in layer 2"),
        ("config/new.py", "import numpy as np", "'numpy' may not be imported in layer 1"),
        ("evaluate.py", "from earshot.report import x", "the application 'evaluate' imports the application 'report'"),
        ("train/new.py", "from earshot.lab.bench import x", "'train' (layer 4) imports 'lab' (layer 6)"),
        ("cli/new.py", "def f():\n    from earshot.lab import x", "'cli' (layer 5) imports 'lab' (layer 6)"),
        ("evaluate.py", "from trl import GRPOTrainer", "'trl' is confined to earshot.train"),
        ("listener/local.py", "import httpx2", "'httpx2' is confined to earshot.remote"),
        ("judging/new.py", "def f():\n    import ray.data", "'ray' is confined to earshot.judging.on_ray"),
        ("data/new.py", "from PIL import Image\nImage.open('x')", "opens an image outside earshot.images"),
        ("data/new.py", "import PIL.Image\nPIL.Image.open('x')", "opens an image outside earshot.images"),
        ("data/new.py", "from PIL.Image import open", "opens an image outside earshot.images"),
        ("cli/new.py", "import torch", "the command line imports torch before a command is called"),
        ("cli/new.py", "from earshot.train import x", "the command line imports earshot.train.x before"),
        ("utils.py", "import math", "'utils' is in no layer of the table"),
        ("__init__.py", "import numpy", "earshot itself imports numpy"),
        ("__init__.py", "from earshot.judging import load", "earshot itself imports earshot.judging.load"),
    ],
)
def test_a_planted_import_against_the_table_is_found(tmp_path, file, text, problem):
    copy = tmp_path / "earshot"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    before = violations(copy)
    planted = copy / file
    planted.parent.mkdir(exist_ok=True, parents=True)
    planted.write_text((planted.read_text() if planted.exists() else "") + f"\n{text}\n")
    (found,) = [violation for violation in violations(copy) if violation.partition(": ")[2] not in messages(before)]
    assert found.startswith(f"{file}:")
    assert problem in found


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        (
            {"data/a.py": "from earshot.stats import x", "stats/b.py": "def f():\n    from ..data import y"},
            ["data", "stats"],
        ),
        (
            {
                "vlm/a.py": "from earshot.remote import x",
                "remote.py": "import earshot.reasoner.b",
                "reasoner/b.py": "from earshot.vlm import x",
            },
            ["reasoner", "remote", "vlm"],
        ),
    ],
)
def test_a_circle_of_packages_within_a_layer_is_found(tmp_path, files, packages):
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    found = violations(tmp_path)
    assert sorted(violation.partition(": '")[2].partition("'")[0] for violation in found) == packages


def test_a_name_that_only_the_type_checker_sees_closes_no_circle(tmp_path):
    for package, other, guard in (("data", "stats", "if TYPE_CHECKING:\n    "), ("stats", "data", "")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text(f"{guard}from earshot.{other} import x")
    assert violations(tmp_path) == []


def messages(found: list[str]) -> set[str]:
    return {violation.partition(": ")[2] for violation in found}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train/new.py", "import trl\nfrom earshot.listener import x\nfrom . import other"),
        ("types.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("cli/new.py", "import typer\ndef f():\n    import torch\n    from earshot.train import x"),
        ("world/new.py", "from earshot.world.scene import x"),
        ("train/dry_run.py", "from earshot.world.make import x"),
        ("lab/bench/new.py", "import trl\nfrom earshot.train import x"),
        ("images.py", "from PIL import Image\nImage.open('x')"),
        ("remote.py", "import httpx2"),
    ],
)
def test_what_the_table_allows_is_not_found(tmp_path, file, text):
    planted = tmp_path / file
    planted.parent.mkdir(exist_ok=True, parents=True)
    planted.write_text(text)
    assert violations(tmp_path) == []


def test_importing_earshot_imports_nothing_heavy():
    code = "import earshot, sys; print(*{'torch', 'numpy', 'pydantic', 'PIL', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_whoever_reads_or_writes_a_completion_says_in_which_form() -> None:
    """Outside callers may leave the prompt set out and get the standard form; a model here has one of its own."""
    forms = {"parse_completion": 2, "write_completion": 2, "listener_prefill": 2}
    forgotten = [
        f"{file.relative_to(PACKAGE)}:{call.lineno}"
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and len(call.args) < forms.get(call.func.id, 0)
    ]
    assert not forgotten
