"""Readers meet files that were changed anywhere: a value or one line, never a stray exception.

Here the changes are the same in each run; `make fuzz` draws new ones, led by what they reach.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("gguf")

from parity_tests.fuzz.targets import MUTATED_BYTES, Target, make_targets

NAMES = (
    "gguf",
    "safetensors",
    "manifest",
    "package",
    "golden",
    "space",
    "recipe",
    "prompts",
    "corpus",
    "qrels",
    "questions",
    "adapter_config.json",
    "adapter_model.safetensors",
    "config.json",
    "modules.json",
    "tokenizer_config.json",
)
PIECES = (
    b"",
    b"0",
    b"-1",
    b"9" * 5_000,
    b"1e400",
    b"NaN",
    b"true",
    b"null",
    b"[]",
    b"{}",
    b"[" * 2_000,
    b'"',
    b"\n",
    b"\t",
    b"\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xed\xa0\x80",
    rb"\ud800",
    b"../x",
)
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 40),
        st.sampled_from(PIECES) | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def changed(sound: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Return `sound` with pieces in place of some bytes: (where, how many, what)."""
    content = sound[:MUTATED_BYTES]
    for place, count, piece in changes:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + count :]
    return content


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_reads_its_sound_file(targets: dict[str, Target]) -> None:
    assert tuple(targets) == NAMES
    for target in targets.values():
        target.read()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_a_value_or_one_line(targets: dict[str, Target], name: str) -> None:
    target = targets[name]

    @settings(
        derandomize=True,
        max_examples=120,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(CHANGES)
    def reads(changes: list[tuple[float, int, bytes]]) -> None:
        target.run(changed(target.sound, changes))

    try:
        reads()
    finally:
        target.file.write_bytes(target.sound)


def test_a_truncated_file_is_a_value_or_one_line(targets: dict[str, Target]) -> None:
    drawn = random.Random(0)
    for target in targets.values():
        for _ in range(15):
            target.file.write_bytes(target.sound[: drawn.randrange(len(target.sound))])
            content = target.file.read_bytes()
            Target(target.read, target.file, content).run(content[:MUTATED_BYTES])
        target.file.write_bytes(target.sound)
