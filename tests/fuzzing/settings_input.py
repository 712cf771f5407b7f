"""Input for whatever reads settings and stored records: YAML and JSON that is broken, huge, deep or of other types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from legibility.config import Config
from tests.grading.texts import ANY_TEXT, HOSTILE

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.integers(min_value=0, max_value=6000).map(lambda n: 10**n),
    st.sampled_from([0, -1, 1, 2**63, -(2**63) - 1, 1e308, 5e-324, True]),
)
TEXT = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=8),
    st.sampled_from(
        ["", "null", "~", "{problem}", "{role}", "../../etc/passwd", "\x1b[2J", "=1+1", "nano-m", "a\x00b", "." * 300]
    ),
)
KEYS = st.one_of(TEXT, st.integers(), st.none(), st.booleans())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip

DEPTHS = st.sampled_from([1, 5, 100, 1000, 20_000])
DEEP = st.one_of(
    st.builds(lambda opened, n, closed: opened * n + "1" + closed * n, st.sampled_from(["[", "(", "- "]), DEPTHS, st.sampled_from(["", "]"])),
    DEPTHS.map(lambda n: '{"a":' * n + "1" + "}" * n),
    DEPTHS.map(lambda n: "".join(f"{' ' * k}a:\n" for k in range(min(n, 200)))),
)  # fmt: skip
"""Nested far deeper than anybody writes."""


def bomb(width: int, levels: int) -> str:
    """Aliases of aliases: a few lines that stand for `width` to the power of `levels` values."""
    lines = ["a0: &a0 [x]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]")
    return "\n".join(lines)


ODD_YAML = st.one_of(
    st.builds(bomb, st.integers(2, 10), st.integers(2, 12)),
    st.sampled_from([
        "a: &a [*a]", "&a {ppo: *a}", "ppo: &p\n  <<: *p", "? [a, b]\n: c", "? {a: b}\n: c", "<<: 1", "<<: [1]",
        "!!python/object/apply:os.system [ls]", "!!binary x", "!!binary [1]", "!!set {a, b}", "!!omap [a]", "!!pairs [1]",
        "!!timestamp x", "ppo: 2026-13-45", "ppo: 2026-11-26 25:61:61", "ppo: 0000-00-00", "seed: 0o9", "seed: 1__0",
        "seed: 0b", "seed: 190:20:30", "seed: .inf", "seed: -.inf", "seed: .nan", "seed: 1e999", "!!int x", "!!float x",
        "!!bool maybe", "!!null x", "--- a\n--- b", "%YAML 9.9\n---\na: b", "a: b: c", "\ta: b", "a: |\n b\n  c", "a: 'b",
        "a: \"\\ud800\"", "a: \"\\x00\"", "a: \"\\uZZZZ\"", "\ufeffa: b", "a: b\x00", "a: b\x85c: d", "seed: 1\nseed: 2",
        "prover: [", "prover: {model: [1]}", "1: 2", "null: 1", "true: 1", "!!str : a", "- a", "a", "", "...", "@a", "`a",
        "seed: !!python/name:os.system", "seed: !unknown 3", "&x *x", "*x", "a: *b", "!!map [1]", "!!seq {a: b}",
        "seed: " + "9" * 5000, "seed: 0x" + "f" * 5000, "seed: " + "1:" * 3000 + "1", "a: " + "x" * 200_000,
    ]),
)  # fmt: skip


def _settings() -> st.SearchStrategy[str]:
    """A settings file with some of the real names and any values."""
    sections = Config().model_dump(mode="json")
    names = [
        f"{s}.{k}" if isinstance(v, dict) else s
        for s, v in sections.items()
        for k in (v if isinstance(v, dict) else [s])
    ]

    def put(pairs: list[tuple[str, Any]]) -> str:
        data: dict[str, Any] = {}
        for name, value in pairs:
            section, _, key = name.partition(".")
            inside = data.setdefault(section, {}) if key else None
            if isinstance(inside, dict):
                inside[key] = value
            else:
                data[section] = value
        try:
            return yaml.safe_dump(data, allow_unicode=True)
        except (ValueError, yaml.YAMLError):  # a number too long to write
            return "seed: " + "9" * 5000

    return st.lists(st.tuples(st.one_of(st.sampled_from(names), st.text(max_size=8)), VALUES), max_size=6).map(put)


YAML_TEXT = st.one_of(_settings(), ODD_YAML, DEEP, st.text(max_size=200))
FILES = st.one_of(
    YAML_TEXT.map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.builds(
        lambda text, encoding: text.encode(encoding, "replace"),
        YAML_TEXT, st.sampled_from(["utf-16", "latin-1", "cp1252", "utf-8-sig", "utf-32"]),
    ),
    st.binary(max_size=100),
)  # fmt: skip
"""Bytes of a settings file."""

OVERRIDES = st.one_of(
    st.builds(
        lambda name, value: f"{name}={value}",
        st.sampled_from(["seed", "ppo.steps", "ppo", "problems.train", "game.rounds.x", "prover.lora", "a.b.c.d", ".", "..", "", "ppo..steps", "=", "ppo.learning_rate", "prover.prompts", "verifier.layers"]),
        YAML_TEXT,
    ),
    st.text(max_size=40),
)  # fmt: skip


def json_text(value: Any) -> str:
    """A value as JSON; of a number too long to write, its end."""
    try:
        return json.dumps(value)
    except ValueError:
        return "1" * 5000


JSON_FILES = st.one_of(
    VALUES.map(json_text).map(lambda t: t.encode()),
    st.dictionaries(st.sampled_from(["schema", "arms", "sha256", "phase", "seconds", "created", "counts"]), VALUES).map(json_text).map(str.encode),
    DEEP.map(str.encode),
    st.sampled_from([b"", b"{", b"\xff\xfe", b"NaN", b"[NaN]", b"1e999", b"9" * 5000, b'"\\ud800"', b"\xef\xbb\xbf{}", b"{}\x00", b'{"schema": 99}']),
    st.binary(max_size=60),
)  # fmt: skip
"""Bytes of a stored record."""


def mutated(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file with some bytes replaced, a piece cut out, or another put in."""

    def change(edits: list[tuple[float, int, bytes]]) -> bytes:
        data = bytearray(good)
        for at, cut, new in edits:
            start = int(at * len(data))
            data[start : start + cut] = new
        return bytes(data)

    pieces = st.one_of(
        st.binary(max_size=3), st.sampled_from([b"[", b"{", b'"', b"\\", b"\n", b"null", b"-1", b"1e999", b"\xff"])
    )
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), pieces), min_size=1, max_size=4).map(change)


SOLUTIONS = st.one_of(
    ANY_TEXT,
    st.builds(lambda piece, share: piece[0] * (share * piece[1] // 50 // len(piece[0])), st.sampled_from(HOSTILE), st.integers(1, 5)),
    st.lists(st.one_of(ANY_TEXT, st.sampled_from(["3 + 4 = 7", "#### 7", "<<3*4=12>>", "(((", "10^999999", "1e999"])), max_size=6).map("\n".join),
)  # fmt: skip
"""Texts of a prover that writes whatever it likes; those made to stall a parser up to 20,000 characters."""


def put(path: Path, data: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(data)
    return path
