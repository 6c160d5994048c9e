"""Ollama's registry, through Ollama's own client: `ollama create`, then `ollama push`.

Its exit code does not tell whether a push came to its end: without a sign-in it is 0. What it says
does (PushHandler in https://github.com/ollama/ollama/blob/main/cmd/cmd.go).
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from exporter.errors import BadInput, reason_of
from exporter.packages.ollama.verifier import foreign_parts
from exporter.packages.terms import Terms, read_terms
from exporter.progress import Stages
from exporter.release.publication import (
    Publication,
    PublishedFile,
    held_licence,
    refuse_link,
    sound_package,
    stated_licence,
)
from exporter.release.target import Asked, BrokenOff, NotReady, Prepared, Target
from exporter.release.whole_release import CARD_NAME, FOLDER

NAME = "ollama"
CLIENT = "ollama"
MODELFILE = "Modelfile"
PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
NAMES = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,79}}/{PART}(:{PART})?")
"""https://github.com/ollama/ollama/blob/main/types/model/name.go"""
PUSHED = re.compile(r"You can find your model at:\s+(\S+)")
NO_SIGN_IN = ("need to be signed in", "unknown ollama key", "add your key at")
NOT_YOURS = ("not authorized to push", "make sure this namespace exists")
NO_SERVER = ("could not connect to ollama", "ollama server not responding")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""With which the client redraws its progress."""


def plan(folder: Path, model: str, asked: Asked) -> Prepared:
    """Return what Ollama makes the model of, and the two commands that make and push it.

    folder: a package that `lawvault package ollama` made, or a release with exactly one such. Only
    its GGUF and what its Modelfile says go along: no card, no report, none of the user's texts.
    Raises GateClosed for one that did not pass, BadInput for one that is damaged, whose Modelfile
    or scripts are not what the tool writes, or of another licence than the checkpoint's.
    """
    if asked.private:
        raise BadInput("'ollama push' makes no private models; leave --private out")
    if asked.key is not None:
        raise BadInput("Ollama's registry keeps no signatures; leave --sign-key out")
    package = _package(folder)
    manifest, reason = sound_package(
        package, checkpoint=asked.checkpoint, override_reason=asked.override_reason
    )
    if manifest.package != NAME:
        raise BadInput(
            f"'{package}' is a package for {manifest.package}; Ollama takes what "
            "'lawvault package ollama' makes"
        )
    (entry,) = manifest.artifacts
    foreign = foreign_parts(package, entry)
    if foreign:
        raise BadInput(f"'{package}': {foreign[0]}")
    contents = {name: package / name for name in (entry.file, MODELFILE)}
    found = Publication(
        target=NAME,
        repository=model,
        licence=_licence(package, read_terms(asked.checkpoint)),
        packages=(package.name,),
        overridden={} if reason is None else {package.name: reason},
        files=tuple(
            PublishedFile(path=name, size_bytes=path.stat().st_size)
            for name, path in contents.items()
        ),
        commands=(
            (CLIENT, "create", model, "-f", str(package / MODELFILE)),
            (CLIENT, "push", model),
        ),
        remarks=_remarks(package),
    )
    return Prepared(found, contents)


def upload(prepared: Prepared, stages: Stages) -> str:
    """Run the two commands and return the model's address. OLLAMA_HOST names the server that
    makes, and pushes, the model.

    Raises NotReady without the client, its server, or a sign-in; BadInput where the server refuses
    the model or the registry the namespace; BrokenOff where no word of success comes.
    """
    client = shutil.which(CLIENT)
    if client is None:
        raise NotReady(
            "the client 'ollama' is not installed; get it from https://ollama.com/download, then "
            "run this again"
        )
    model = prepared.publication.repository
    create, push = prepared.publication.commands
    code, said = _run(client, create, stages)
    if code != 0:
        _check_ready(said)
        raise BadInput(f"'{shlex.join(create)}' did not make the model ({_last_word(said)})")
    code, said = _run(client, push, stages)
    pushed = PUSHED.search(said)
    if code == 0 and pushed is not None:
        return pushed.group(1)
    _check_ready(said)
    if any(sign in said.lower() for sign in NOT_YOURS):
        raise BadInput(
            f"the registry refuses '{model}' ({_last_word(said)}): the namespace is someone "
            "else's, or the key of this Ollama server is not registered with its owner at "
            "https://ollama.com/settings/keys"
        )
    raise BrokenOff(model, _last_word(said))


def _package(folder: Path) -> Path:
    """Return the one package for Ollama that is meant. Raises BadInput."""
    if not (folder / FOLDER).is_dir():
        return folder
    refuse_link(folder / FOLDER)
    found = [p.parent for p in sorted((folder / FOLDER).glob(f"*/{MODELFILE}"))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput(f"'{folder}' holds no package for Ollama; make one: lawvault package ollama")
    names = ", ".join(f"'{package}'" for package in found)
    raise BadInput(f"one model is pushed at a time; pass one of {names} as FOLDER")


def _licence(package: Path, terms: Terms) -> str:
    """Return the licence, of the release's card where the package lies in one that has a card."""
    around = package.resolve().parent
    card = around.parent / CARD_NAME
    if around.name == FOLDER and card.is_file():
        return stated_licence(card, terms)
    return held_licence(terms.licence, terms, "the checkpoint's card")


def _remarks(package: Path) -> tuple[str, ...]:
    if "\nLICENSE " in (package / MODELFILE).read_text("utf-8"):
        return ()
    return (
        "the Modelfile holds no licence text, so the registry shows none: put the licence beside "
        "the checkpoint as LICENSE and package again",
    )


def _run(client: str, command: tuple[str, ...], stages: Stages) -> tuple[int, str]:
    """Run a command of the client and return its exit code and all that it said."""
    progress = stages(" ".join(command[:3]), 1)
    try:
        ran = subprocess.run(
            [client, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        raise NotReady(f"'{client}' does not run ({reason_of(error)}); install it again") from None
    progress(1)
    return ran.returncode, ESCAPES.sub("", ran.stdout.decode("utf-8", "replace"))


def _check_ready(said: str) -> None:
    """Raise NotReady where the client says that it has no server, or no sign-in."""
    if any(sign in said.lower() for sign in NO_SERVER):
        raise NotReady("no Ollama server answers; start one with 'ollama serve' or set OLLAMA_HOST")
    if any(sign in said.lower() for sign in NO_SIGN_IN):
        raise NotReady(
            "Ollama is not signed in, nothing was pushed; run 'ollama signin', or add the server's "
            "public key (~/.ollama/id_ed25519.pub, of a Linux service "
            "/usr/share/ollama/.ollama/id_ed25519.pub) at https://ollama.com/settings/keys, then "
            "run this again"
        )


def _last_word(said: str) -> str:
    """Return the error that the client ended with, else its last line."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    errors = [line for line in lines if line.startswith("Error:")]
    return [*lines, *errors][-1] if lines else "it said nothing"


TARGET = Target(
    label="Ollama's registry",
    is_name=lambda name: NAMES.fullmatch(name) is not None,
    shape="ollama://NAMESPACE/NAME[:TAG]",
    plan=plan,
    upload=upload,
)
