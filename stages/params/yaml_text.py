"""YAML of params.yaml, refused where readers would differ: DVC reads YAML 1.2, PyYAML 1.1. Nothing is guessed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stages.base.errors import UserError

LARGEST = 1_000_000  # bytes; params.yaml has two thousand
DEEPEST = 50  # PyYAML's time grows with the square of the depth
DIGITS = 300  # of the longest number
# Plain words that are true or false in YAML 1.1 alone, and numbers that are octal, binary, of base 60 or grouped there.
BOOLEANS = re.compile(r"yes|no|on|off", re.IGNORECASE)
NUMBERS = re.compile(r"[-+]?(0[0-7_]+|0b[01_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?|[\d.]*\d_[\d_.]*)", re.ASCII)


def read(content: bytes, path: Path) -> Any:
    """The value of a YAML document. Raises UserError, one line that names the line of the file."""
    if len(content) > LARGEST:
        raise UserError(f"{path}: has {len(content)} bytes, more than parameters need; put the right file there")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: is not UTF-8 text; save the file as UTF-8") from None
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise _fault(path, event, f"is nested more than {DEEPEST} deep", "write it anew")
            if isinstance(event, yaml.AliasEvent):
                raise _fault(path, event, f"`*{event.anchor}` is an alias", "write the value itself")
        for node in _nodes(yaml.compose(text, yaml.SafeLoader)):
            _check(path, node)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: is not valid YAML ({error.problem}); mend the syntax there") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(f"{path} line {line}: holds a control character; write the line anew") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is not valid YAML ({type(error).__name__}); mend the syntax there") from None


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """All nodes of a document; without aliases they are a tree."""
    waiting = [root] if root else []
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check(path: Path, node: yaml.Node) -> None:
    """Refuse keys that stand twice, and plain values that YAML 1.1 and 1.2 read differently."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault(path, key, "a key is not a word", "write `key: value`")
            if key.value in seen:
                problem = f"key `{key.value[:80]}` stands on line {seen[key.value]} already"
                raise _fault(path, key, problem, "keep one of them")
            seen[key.value] = key.start_mark.line + 1
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        if BOOLEANS.fullmatch(node.value):
            mend = "write true or false, or the word in quotes"
            raise _fault(path, node, f"`{node.value}` is true or false to some readers, a word to others", mend)
        if NUMBERS.fullmatch(node.value):
            problem = f"`{node.value[:80]}` is one number to some readers, another to others"
            raise _fault(path, node, problem, "write plain decimal digits, or the text in quotes")
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > DIGITS:
            raise _fault(path, node, f"a number has {len(node.value)} digits", "write a smaller one")


def _fault(path: Path, place: yaml.Node | yaml.Event, problem: str, mend: str) -> UserError:
    line = place.start_mark.line + 1 if place.start_mark else 1
    return UserError(f"{path} line {line}: {problem}; {mend}")
