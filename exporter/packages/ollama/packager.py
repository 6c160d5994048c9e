"""A package for Ollama: GGUF, Modelfile, scripts that make and prove it, clients, vectors."""

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.manifest import Manifest
from exporter.packages.assemble import Filling, Packager
from exporter.packages.ollama.modelfile import model_tag, render_modelfile
from exporter.packages.pooling import pooling_names
from exporter.templates import environment

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("verify.py", "client.py", "client.mjs")
SCRIPT_TEMPLATES = {"create.sh.j2": "create.sh", "create.ps1.j2": "create.ps1"}


def fill_ollama(filling: Filling) -> Sequence[str]:
    """Write the GGUF, its Modelfile and everything that makes and proves the model on a server."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    shutil.copyfile(judged.folder / manifest.entry, stage / manifest.entry)
    for name, content in what_is_run(manifest, filling.licence_text).items():
        (stage / name).write_bytes(content)
    tag = tag_of(manifest)
    query = manifest.prompts.render_query("房东不退押金怎么办")
    # Quoted for a shell: a prompt may hold an apostrophe.
    example = shlex.quote(json.dumps({"model": tag, "input": query}, ensure_ascii=False))
    filling.write(
        "readme.md.j2",
        "README.md",
        manifest=manifest,
        verdict=judged.verdict,
        tag=tag,
        example=example,
        pooling=pooling_names(manifest),
    )
    (stage / "create.sh").chmod(0o755)
    return [manifest.entry]


def what_is_run(manifest: Manifest, licence_text: str | None) -> dict[str, bytes]:
    """Return name -> content of what Ollama, a shell or Python runs of a package: it follows from
    the artifact and its licence alone."""
    modelfile = render_modelfile(
        manifest.entry, num_ctx=manifest.max_tokens, license_text=licence_text
    )
    found = {"Modelfile": modelfile.encode()}
    templates = environment(__package__, escape=False, trim=False)
    for template, name in SCRIPT_TEMPLATES.items():
        text = templates.get_template(template).render(tag=tag_of(manifest))
        found[name] = text.encode()
    return found | {name: (STATIC / name).read_bytes() for name in SCRIPTS}


def tag_of(manifest: Manifest) -> str:
    """Return the name by which the model is created."""
    return model_tag(manifest.model_name, manifest.scheme)


PACKAGER = Packager(
    name="ollama",
    room=__package__,
    verify="exporter.packages.ollama.verifier:verify_gguf",
    format="gguf",
    fill=fill_ollama,
    tag=tag_of,
    hint="Ollama takes a GGUF: lawvault export gguf",
)
