"""Texts in the rule language: words, blocks and numbers. vl2.md 9."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from zt_async.errors import RuleLanguageError

OPENERS: Final = frozenset(
    ("macro", "tag", "cap", "drop", "accept", "tee", "watch", "redirect", "break", "priority")
)
"""Words that open a block."""


class Word(NamedTuple):
    """A word and where it stands; lines and columns begin with 1."""

    text: str
    line: int
    column: int

    def error(self, problem: str) -> RuleLanguageError:
        return RuleLanguageError(self.line, self.column, problem)


Block: TypeAlias = "list[Word | Block]"


def _words(source: str) -> Iterator[Word]:
    for number, line in enumerate(re.split("\r\n|\r|\n", source), 1):
        for found in re.finditer("[^ \t]+", line):
            if found[0].startswith("#"):
                break
            yield Word(found[0], number, found.start() + 1)


def parse(source: str) -> Block:
    """The outermost block. Raises RuleLanguageError if another one is open at the end, and nothing in it.

    Some words open a block inside. A ';' at the end of a word, or alone, closes the innermost one that has something
    in it, and the end of the text closes all.
    """
    blocks: list[Block] = [[]]
    last = None
    for last in _words(source):
        text = last.text.removesuffix(";")
        if text:
            blocks[-1].append(last._replace(text=text))
        if text != last.text and len(blocks) > 1 and blocks[-1]:
            block = blocks.pop()
            blocks[-1].append(block)
        elif text in OPENERS:  # 'accept;' at top level too: there is nothing that it could close
            blocks.append([])
    if last is not None and last.text in OPENERS:
        blocks.pop()
    if len(blocks) > 2 and not blocks[-1] and last is not None:
        raise last.error(f"expected a ';' behind what stands in an open block before {last.text!r}")
    while len(blocks) > 1:
        if block := blocks.pop():
            blocks[-1].append(block)
    return blocks[0]


class Reader:
    """Reads the words of a block one after the other."""

    def __init__(self, block: Block, before: Word) -> None:
        self._nodes = block
        self._next = 0
        self._last = before

    def __bool__(self) -> bool:
        return self._next < len(self._nodes)

    def node(self) -> Word | Block:
        """What comes next; there has to be something."""
        node = self._nodes[self._next]
        self._next += 1
        if isinstance(node, Word):
            self._last = node
        return node

    def word(self, expected: str) -> Word:
        """The next word; raises RuleLanguageError if none comes next."""
        node = self.node() if self else None
        if not isinstance(node, Word):
            raise self._last.error(f"expected {expected} after {self._last.text!r}")
        return node

    def block(self) -> Block:
        """The block that comes next; an empty one if none does."""
        node = self._nodes[self._next] if self else None
        if not isinstance(node, list):
            return []
        self._next += 1
        return node

    def rest(self) -> Block:
        """All that is left."""
        return self._nodes[self._next :]


def parse_number(text: str) -> int | None:
    """A decimal number, or a hexadecimal one behind 0x; None for anything else."""
    if re.fullmatch("-?[0-9]{1,20}", text):
        return int(text)
    return int(text, 16) if re.fullmatch("0[xX][0-9a-fA-F]{1,20}", text) else None


def number(word: Word, what: str, highest: int, lowest: int = 0) -> int:
    """The number that a word is. Raises RuleLanguageError."""
    value = parse_number(word.text)
    if value is None or not lowest <= value <= highest:
        raise word.error(f"expected {what}, a number from {lowest} to {highest}, not {word.text!r}")
    return value


def listed(names: Iterable[str]) -> str:
    """Names that were possible, for the text of an error; not too many."""
    some = list(islice(names, 30))
    return f" ({', '.join(some)})" if some else ""
