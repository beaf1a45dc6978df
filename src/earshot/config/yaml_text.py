"""The YAML that configurations are written in: the core of YAML 1.2, without surprises.

PyYAML reads YAML 1.1, in which `1e-5` is a string, `no` is false, `010` is eight and `1:30` is ninety. A table that
goes to TRL verbatim (`save_strategy: no`, `learning_rate: 1e-5`) needs the rules of YAML 1.2.
Source: YAML 1.2.2, section 10.3.2 (core schema); underscores in integers (1_000_000) are kept from 1.1.
"""

import re
from typing import Any

import yaml

_PLAIN_VALUES: list[tuple[str, str, str]] = [
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+(_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
]


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes the strings which YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain values of YAML 1.2, and without aliases and repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own protocol)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # An alias can repeat or contain itself without end; a configuration has no use for one.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(
                problem=f"*{event.anchor} is an alias, expected the value itself", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated_keys(node)
        return node


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            found = key.value if isinstance(key, yaml.ScalarNode) else "a list or a table"
            raise yaml.constructor.ConstructorError(
                problem=f"the key is {found!r}, expected a name (put it in quotes)", problem_mark=key.start_mark
            )
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                problem=f"the key '{key.value}' is repeated, expected it once", problem_mark=key.start_mark
            )
        seen.add(key.value)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


for _tag, _pattern, _first_characters in _PLAIN_VALUES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [*_first_characters])
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def to_yaml(value: Any) -> str:
    """The YAML text of plain values, in their own order, which `compose` reads back as the same values.

    Raises:
        yaml.YAMLError: A value is not a plain one (None, bool, number, string, list, tuple, dict).
    """
    # Not allow_unicode: PyYAML then writes U+0085 plainly, and reads it back as a space.
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


def compose(text: str) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text, and its tree of nodes, which knows the lines.

    Raises:
        yaml.YAMLError: The text is not YAML, or uses an alias, an unknown tag or a repeated key.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except ValueError as error:
        raise yaml.YAMLError(f"an impossible value ({error})") from error


def line_of(node: yaml.Node | None, place: tuple[str | int, ...]) -> int | None:
    """Line, from 1, of the deepest part of `place` that the text has; None where it has not even the first."""
    line = None
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                return line
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line
