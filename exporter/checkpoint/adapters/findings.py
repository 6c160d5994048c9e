"""What is to be known of an adapter before its vectors are trusted."""

import re
from collections.abc import Mapping, Sequence

from exporter.checkpoint.adapters.base import last_name
from exporter.checkpoint.adapters.record import REPLACED, AdapterRecord, ChangedKind
from exporter.checkpoint.contents import Finding

TABLE = "embed_tokens"
SCALED_SINCE = (0, 18)
"""https://github.com/huggingface/peft/pull/2825; the same release began to save its version."""
LARGE = 1.0
"""A change as large as the weights it is added to. Trained LoRAs lie far below; a factor or a base
that is not the one of the training lies above."""


def adapter_findings(
    record: AdapterRecord, relative: Mapping[str, float], *, version: str | None
) -> list[Finding]:
    """Return the findings on what was merged onto what. `version`: PEFT's that saved it, where it
    says so."""
    found = [
        Finding(
            id="adapter",
            severity="info",
            evidence=f"{record.described}: {_kinds(record.changes)}",
            effect="vectors are those of the base with the adapter: another base or another "
            "adapter gives others",
            remedy="none needed here: it is merged exactly, and the reference runs it in PEFT",
        )
    ]
    named = record.base_named
    if named is not None and last_name(named) != last_name(record.base):
        found.append(
            Finding(
                id="adapter-base",
                severity="warning",
                evidence=f"adapter_config.json names the base '{named}', used is '{record.base}'",
                effect="an adapter added to weights that it was not trained on gives vectors of no "
                "use, and nothing else in the files can tell",
                remedy="make sure that both are one model under two names",
            )
        )
    made = [change for change in record.changes if change.how != REPLACED]
    idle = [change for change in made or record.changes if relative[change.kind] == 0]
    if idle:
        found.append(
            Finding(
                id="adapter-idle",
                severity="warning",
                evidence=f"the adapter changes nothing in {_kinds(idle)}",
                effect="vectors are the base's"
                if not any(relative.values())
                else "these are the base's",
                remedy="make sure that the adapter was saved after its training",
            )
        )
    large = [change for change in record.changes if relative[change.kind] > LARGE]
    if large:
        found.append(
            Finding(
                id="adapter-large",
                severity="warning",
                evidence="the adapter changes more than there is in "
                + ", ".join(f"{c.kind} ({relative[c.kind]:.2g} of the weights)" for c in large),
                effect="little of the base is left; so looks a wrong alpha or a wrong base",
                remedy="compare lora_alpha and the base with those of the training",
            )
        )
    if any(c.kind == TABLE and c.ranks for c in record.changes) and _before(version, SCALED_SINCE):
        found.append(
            Finding(
                id="adapter-embedding",
                severity="warning",
                evidence=f"the adapter changes {TABLE} and was saved by PEFT {version or 'unknown'}"
                " (before 0.18)",
                effect="that PEFT left the embedding's own factor out of the change; PEFT from "
                "0.18 on, and this merge, multiply the change by it, so it acts otherwise than in "
                "training",
                remedy="train it again with PEFT 0.18 or later",
            )
        )
    return found


def _before(version: str | None, least: tuple[int, int]) -> bool:
    numbers = [int(n) for n in re.findall(r"\d+", version or "")[:2]]
    return tuple(numbers) < least


def _kinds(changes: Sequence[ChangedKind]) -> str:
    return ", ".join(change.kind for change in changes)
