"""A package for Ollama: GGUF, Modelfile, scripts that make and prove it, clients, vectors."""

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from exporter.manifest import Manifest
from exporter.packages.assemble import Filling, Packager
from exporter.packages.ollama.modelfile import model_tag, render_modelfile

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("verify.py", "client.py", "client.mjs")
TEMPLATES = {
    "readme.md.j2": "README.md",
    "create.sh.j2": "create.sh",
    "create.ps1.j2": "create.ps1",
}


def fill_ollama(filling: Filling) -> Sequence[str]:
    """Write the GGUF, its Modelfile and everything that makes and proves the model on a server."""
    (judged,) = filling.artifacts
    manifest, stage = judged.manifest, filling.stage
    shutil.copyfile(judged.folder / manifest.entry, stage / manifest.entry)
    modelfile = render_modelfile(
        manifest.entry, num_ctx=manifest.max_tokens, license_text=filling.licence_text
    )
    (stage / "Modelfile").write_text(modelfile, encoding="utf-8")
    for name in SCRIPTS:
        shutil.copyfile(STATIC / name, stage / name)
    tag = tag_of(manifest)
    query = manifest.prompts.render_query("房东不退押金怎么办")
    # Quoted for a shell: a prompt may hold an apostrophe.
    example = shlex.quote(json.dumps({"model": tag, "input": query}, ensure_ascii=False))
    for template, name in TEMPLATES.items():
        filling.write(
            template, name, manifest=manifest, verdict=judged.verdict, tag=tag, example=example
        )
    (stage / "create.sh").chmod(0o755)
    return [manifest.entry]


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
