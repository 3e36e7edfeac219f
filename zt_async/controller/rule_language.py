"""The rule language in which people write the rules of networks, compiled to upstream's JSON. vl2.md 9.

A text becomes words and blocks, those become definitions (macros, tags, capabilities) and statements, those rules.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from zt_async.controller.rule_matches import JSON, MATCHES, TAG_MATCHES, named_number, node_address
from zt_async.controller.rule_source import OPENERS, Block, Reader, Word, listed, number, parse
from zt_async.wire.credentials import MAX_CAPABILITY_RULES
from zt_async.wire.network_config import MAX_CAPABILITIES, MAX_TAGS
from zt_async.wire.rules import MAX_RULES

MAX_DEPTH: Final = 32
"""Macros that include one another."""
MAX_INCLUDES: Final = 4096

_U32: Final = 0xFFFFFFFF
_DIGITS: Final = "0123456789"
_START: Final = Word("", 1, 1)
_ACTIONS: Final = {
    "drop": "ACTION_DROP",
    "accept": "ACTION_ACCEPT",
    "break": "ACTION_BREAK",
    "tee": "ACTION_TEE",
    "watch": "ACTION_WATCH",
    "redirect": "ACTION_REDIRECT",
}
_RESERVED: Final = frozenset(
    (*OPENERS, *MATCHES, *TAG_MATCHES, "and", "or", "not", "xor", "include", "default", "enum", "type")
) | {"class", "define", "import", "log", "set", "var", "let"}
"""What no macro, tag or capability can be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRules:
    """What a text says, as upstream's compiler writes it."""

    rules: list[JSON]
    capabilities: list[JSON]
    """``id``, ``default`` and ``rules`` of each."""
    tags: list[JSON]
    """``id`` and ``default`` of each."""
    capabilities_by_name: dict[str, int]
    tags_by_name: dict[str, JSON]
    """``id``, ``default``, ``enums`` and ``flags`` of each."""

    @property
    def config(self) -> JSON:
        """The fields that it gives a network's record."""
        return {"rules": self.rules, "capabilities": self.capabilities, "tags": self.tags}

    def to_json(self) -> JSON:
        """All of it in one object."""
        return {
            "config": self.config,
            "capabilitiesByName": self.capabilities_by_name,
            "tagsByName": self.tags_by_name,
        }


def compile_rules(source: str) -> CompiledRules:
    """Compile a text. Raises RuleLanguageError with the place, and what was expected there."""
    program = _Definitions(parse(source))
    capabilities = [
        {
            "id": capability.id,
            "default": capability.default,
            "rules": _Renderer(program, MAX_CAPABILITY_RULES).render(
                Reader(capability.body, capability.name)
            ),
        }
        for capability in program.capabilities.values()
    ]
    return CompiledRules(
        rules=_Renderer(program, MAX_RULES).render(Reader(program.statements, _START)),
        capabilities=capabilities,
        tags=[{"id": tag["id"], "default": tag["default"]} for tag in program.tags.values()],
        capabilities_by_name={name: capability.id for name, capability in program.capabilities.items()},
        tags_by_name=program.tags,
    )


# Definitions


class _Macro(NamedTuple):
    name: Word
    parameters: tuple[str, ...]
    body: Block


class _Capability(NamedTuple):
    name: Word
    id: int
    default: bool
    body: Block


class _Definitions:
    """What a text defines, by name, and the statements that are rules of the network itself."""

    def __init__(self, parsed: Block) -> None:
        self.macros: dict[str, _Macro] = {}
        self.tags: dict[str, JSON] = {}
        self.capabilities: dict[str, _Capability] = {}
        self.statements: Block = []
        self.includes = 0
        """How many were rendered, in all tables."""
        define = {"macro": self._define_macro, "tag": self._define_tag, "cap": self._define_capability}
        reader = Reader(parsed, _START)
        while reader:
            node = reader.node()
            if isinstance(node, Word) and node.text.lower() in define:
                define[node.text.lower()](Reader(reader.block(), node))
            else:
                self.statements.append(node)

    def _define_macro(self, reader: Reader) -> None:
        name, *parameters = _call(_lowered(reader.word("a name")))
        _check_new(name, "macro", self.macros)
        self.macros[name.text] = _Macro(name, tuple(word.text for word in parameters), reader.rest())

    def _define_tag(self, reader: Reader) -> None:
        name = _lowered(reader.word("a name"))
        _check_new(name, "tag", self.tags, MAX_TAGS)
        tag_id: int | None = None
        default: Word | None = None
        enums: dict[str, int] = {}
        flags: dict[str, int] = {}
        while reader:
            keyword = reader.word("id, default, enum or flag")
            match keyword.text.lower():
                case "id" if tag_id is None:
                    tag_id = number(reader.word("an ID"), "the ID of a tag", _U32)
                case "default" if default is None:
                    default = reader.word("a value")
                case "enum":
                    value = number(reader.word("a value"), "the value of an enum", _U32)
                    enums[_value_name(reader, "enum", enums)] = value
                case "flag":
                    bits = _flag_bits(reader.word("bits"), flags)
                    flags[_value_name(reader, "flag", flags)] = bits
                case "id" | "default" as twice:
                    raise keyword.error(f"tag {name.text!r} has a second {twice}")
                case _:
                    raise keyword.error(f"expected id, default, enum or flag, not {keyword.text!r}")
        if tag_id is None:
            raise name.error(f"expected an id in the definition of tag {name.text!r}")
        known = None if default is None else named_number(default, "a value", _U32, flags | enums)
        self.tags[name.text] = {"id": tag_id, "default": known, "enums": enums, "flags": flags}

    def _define_capability(self, reader: Reader) -> None:
        name = _lowered(reader.word("a name"))
        _check_new(name, "capability", self.capabilities, MAX_CAPABILITIES)
        capability_id: int | None = None
        default = False
        body: Block = []
        while reader:
            node = reader.node()
            match node.text.lower() if isinstance(node, Word) else "":
                case "id":
                    word = reader.word("an ID")
                    if capability_id is not None:
                        raise word.error(f"capability {name.text!r} has a second id")
                    capability_id = number(word, "the ID of a capability", _U32)
                    if capability_id in (other.id for other in self.capabilities.values()):
                        raise word.error(f"there is a capability with the ID {capability_id} already")
                case "default":
                    default = True
                case _:
                    body.append(node)
        if capability_id is None:
            raise name.error(f"expected an id in the definition of capability {name.text!r}")
        self.capabilities[name.text] = _Capability(name, capability_id, default, body)


def _lowered(word: Word) -> Word:
    return word._replace(text=word.text.lower())


def _call(word: Word) -> list[Word]:
    """The name and the arguments of NAME or NAME(x,y)."""
    name, _, arguments = word.text.partition("(")
    return [word._replace(text=part) for part in (name, *filter(None, re.split("[,)]+", arguments)))]


def _is_name(text: str) -> bool:
    return text[:1] not in _DIGITS and all(c.isalpha() or c in _DIGITS or c == "_" for c in text)


def _check_new(word: Word, what: str, known: Mapping[str, object], limit: float = inf) -> None:
    if not _is_name(word.text):
        raise word.error(f"expected a name of letters, digits and _ for the {what}, not {word.text!r}")
    if word.text in _RESERVED:
        raise word.error(f"expected a name for the {what}, not the reserved word {word.text!r}")
    if word.text in known:
        raise word.error(f"there is a {what} {word.text!r} already")
    if len(known) >= limit:
        raise word.error(
            f"expected no more definitions of this kind than {limit}: there is no room for this one"
        )


def _value_name(reader: Reader, what: str, known: Mapping[str, int]) -> str:
    """The name of an enum or a flag, which may be a reserved word."""
    word = _lowered(reader.word(f"the name of the {what}"))
    if not _is_name(word.text):
        raise word.error(f"expected a name of letters, digits and _ for the {what}, not {word.text!r}")
    if word.text in known:
        raise word.error(f"the tag has a {what} {word.text!r} already")
    return word.text


def _flag_bits(word: Word, flags: Mapping[str, int]) -> int:
    bits = 0
    for name in word.text.lower().split(","):
        part = word._replace(text=name)
        bits |= flags[name] if name in flags else 1 << named_number(part, "a bit", 31, flags)
    return bits


# Statements


class _Renderer:
    """Makes one table of rules from statements."""

    def __init__(self, program: _Definitions, limit: int) -> None:
        self._program = program
        self._limit = limit
        self._rules: list[JSON] = []

    def render(self, statements: Reader) -> list[JSON]:
        """The rules. Raises RuleLanguageError, also where they are more than there is room for."""
        self._render(statements, {}, 0)
        return self._rules

    def _render(self, reader: Reader, arguments: Mapping[str, str], depth: int) -> None:
        while reader:
            word = reader.word("an action or include")
            keyword = word.text.lower()
            if keyword == "include":
                self._include(reader.word("the name of a macro"), arguments, depth)
                continue
            if keyword not in _ACTIONS:
                known = ", ".join(_ACTIONS)
                raise word.error(f"expected an action ({known}) or include, not {word.text!r}")
            rule: JSON = {"type": _ACTIONS[keyword]}
            matches = Reader(reader.block(), word)
            if keyword in ("tee", "watch"):
                length = number(matches.word("a length and a target"), "a length (-1 for all)", 0xFFFF, -1)
                rule |= {"address": node_address(matches.word("a target")), "length": length}
            elif keyword == "redirect":
                rule["address"] = node_address(matches.word("a target"))
            self._rules += self._matches(matches, arguments)
            self._rules.append(rule)
            if len(self._rules) > self._limit:
                raise word.error(f"expected no more than {self._limit} rules: there is no room for this one")

    def _include(self, word: Word, arguments: Mapping[str, str], depth: int) -> None:
        name, *values = _call(word)
        macro = self._program.macros.get(name.text)
        if macro is None:
            raise name.error(f"expected the name of a macro{listed(self._program.macros)}, not {name.text!r}")
        self._program.includes += 1
        if depth == MAX_DEPTH or self._program.includes > MAX_INCLUDES:
            raise name.error(f"macros are included too often: does {name.text!r} include itself?")
        if len(values) < len(macro.parameters):
            wanted = ",".join(macro.parameters)
            raise name.error(f"expected {name.text}({wanted}), not {word.text!r}")
        texts = (arguments.get(value.text, value.text) for value in values)
        given = dict(zip(macro.parameters, texts, strict=False))
        self._render(Reader(macro.body, macro.name), given, depth + 1)

    def _matches(self, reader: Reader, arguments: Mapping[str, str]) -> Iterator[JSON]:
        flags = {"not": False, "or": False}
        while reader:
            word = reader.word("a match")
            keyword = word.text.lower()
            if keyword in flags:
                flags[keyword] = True
                if not reader:
                    raise word.error(f"expected a match after {word.text!r}")
            elif keyword != "and":
                kind, fields = self._match(word, keyword, reader, arguments)
                yield {"type": kind, **flags, **fields}
                flags = dict.fromkeys(flags, False)

    def _match(
        self, word: Word, keyword: str, reader: Reader, arguments: Mapping[str, str]
    ) -> tuple[str, JSON]:
        """The type and the fields of a match, whose arguments are still to be read."""
        count = 2 if keyword in TAG_MATCHES else MATCHES[keyword][1] if keyword in MATCHES else 0
        given = [self._argument(reader.word("an argument"), arguments) for _ in range(count)]
        if keyword in TAG_MATCHES:
            name, value = given
            tags = self._program.tags
            tag = tags.get(name.text, {"enums": {}, "flags": {}})
            tag_id = named_number(name, "a tag", _U32, {text: tag["id"] for text, tag in tags.items()})
            names = ChainMap(tag["flags"], tag["enums"])
            return TAG_MATCHES[keyword], {"id": tag_id, "value": named_number(value, "a value", _U32, names)}
        if keyword in MATCHES:
            kind, _, fields = MATCHES[keyword]
            return kind, fields(*given)
        if keyword in OPENERS:
            raise word.error(f"expected a match, not {word.text!r}: a bare 'accept;' may only come last")
        raise word.error(f"expected a match such as ethertype or dport, not {word.text!r}")

    def _argument(self, word: Word, arguments: Mapping[str, str]) -> Word:
        if not word.text.startswith("$"):
            return word
        if word.text not in arguments:
            raise word.error(f"expected a parameter of the macro{listed(arguments)}, not {word.text!r}")
        return word._replace(text=arguments[word.text])
