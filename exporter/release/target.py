"""A place to publish at: what is asked of it, and how it is named on the command line."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput, LawvaultError
from exporter.progress import Stages
from exporter.registry import TARGETS, resolve
from exporter.release.publication import Content, Publication

DEFAULT = "hf"


class BrokenOff(LawvaultError):
    """An upload did not come to its end; run again it goes on. Exit code 1."""

    exit_code = 1

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"the upload to '{where}' broke off ({reason[:200]}); run it again, large files that "
            "arrived are not sent twice"
        )


class NotReady(LawvaultError):
    """Nobody is signed in at the target, or its own client is missing. Exit code 3."""

    exit_code = 3


@dataclass(frozen=True)
class Asked:
    """What is asked of a publication, whatever its target.

    Without `with_texts` reports keep their figures and lose the user's texts. `override_reason`:
    of packages without a pass. `key`: signs every package. `private`: a new repository that only
    its owner sees.
    """

    checkpoint: Checkpoint
    with_texts: bool = True
    override_reason: str | None = None
    key: Path | None = None
    private: bool = False


@dataclass(frozen=True)
class Prepared:
    """A publication and its contents, by their path at the target."""

    publication: Publication
    contents: Mapping[str, Content]


@dataclass(frozen=True)
class Target:
    """A place to publish at.

    `label`: its name in a sentence. `is_name`: whether a repository there can have a name. `shape`:
    how to write one after --to. `plan` looks and changes nothing; `upload` does what was planned
    and returns the address. The first raises BadInput or GateClosed, the second BadInput, NotReady,
    MissingDependency or BrokenOff.
    """

    label: str
    is_name: Callable[[str], bool]
    shape: str
    plan: Callable[[Path, str, Asked], Prepared]
    upload: Callable[[Prepared, Stages], str]


def find_target(to: str) -> tuple[Target, str]:
    """Return the target that `to` names, and the repository's name there.

    to: `TARGET://NAME`; a name alone is one at the Hugging Face hub. Raises BadInput for a target
    that is not known, and a name that no repository there has.
    """
    scheme, found, name = to.partition("://")
    if not found:
        scheme, name = DEFAULT, to
    target: Target = resolve(TARGETS, scheme, what="target")
    if not target.is_name(name):
        raise BadInput(f"--to '{to}' names nothing at {target.label}; write {target.shape}")
    return target, name


def already_public(where: str) -> BadInput:
    """Return the error for a repository that is asked to be private and is not."""
    return BadInput(
        f"'{where}' exists and is public, and --private is for a new repository; make it private "
        "in its settings first, or name another"
    )


def usable_token(token: str | None, *, label: str, remedy: str) -> str:
    """Return a token that a header can hold. Raises NotReady, which does not show it."""
    held = (token or "").strip()
    if not held:
        raise NotReady(f"no token for {label}; {remedy}")
    if not re.fullmatch(r"[!-~]+", held):
        raise NotReady(f"the token for {label} holds characters that none has; {remedy}")
    return held
