"""A package for transformers.js: graphs under the names it looks for, and a page that uses them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import BadInput
from exporter.manifest import Manifest
from exporter.packages.assemble import Filling, Packager, Settings
from exporter.packages.onnx_file import write_graph
from exporter.packages.pooling import padded_rightly, pooling_names
from exporter.packages.transformersjs.article_vectors import (
    ABOUT_NAME,
    StoredVectors,
    write_vectors,
)
from exporter.packages.transformersjs.npm import (
    INSTALL,
    INSTALL_HERE,
    NPM_FILES,
    TESTED,
    find_node_modules,
    runtime_files,
)
from exporter.packages.transformersjs.search_page import invented_questions, write_page
from exporter.parsing import parse_json
from exporter.progress import silent
from exporter.records import write_json

STATIC = Path(__file__).parent / "static"
# https://github.com/huggingface/transformers.js/blob/4.3.1/packages/transformers/src/utils/dtypes.js
FILES: Mapping[str, tuple[str, str]] = {
    "int8": ("q8", "model_quantized.onnx"),
    "fp32": ("fp32", "model.onnx"),
    "fp16": ("fp16", "model_fp16.onnx"),
    "q4": ("q4", "model_q4.onnx"),
    "q4f16": ("q4f16", "model_q4f16.onnx"),
    # Only a name of the file: transformers.js has none for widths that differ.
    "mixed": ("int8", "model_int8.onnx"),
}
"""Scheme -> its dtype and its file, in the order in which one is taken where nobody chose."""


def fill_transformersjs(filling: Filling) -> Sequence[str]:
    """Write graphs, tokenizer and config as transformers.js reads them, and the page."""
    stage, artifacts = filling.stage, filling.artifacts
    files = [f"onnx/{FILES[judged.manifest.scheme][1]}" for judged in artifacts]
    for judged, file in zip(artifacts, files, strict=True):
        write_graph(judged, stage / file)
    first = artifacts[0]
    shutil.copyfile(first.folder / "tokenizer.json", stage / "tokenizer.json")
    schemes = [judged.manifest.scheme for judged in artifacts]
    default = next(scheme for scheme in FILES if scheme in schemes)
    config = _read_json(first.folder / "config.json")
    config["transformers.js_config"] = {
        "dtype": FILES[default][0],
        "use_external_data_format": {FILES[scheme][1]: 1 for scheme in schemes},
    }
    write_json(stage / "config.json", config)
    # It cuts at this length; a tokenizer often allows more than the model was trained to read.
    tokenizer = _read_json(first.folder / "tokenizer_config.json")
    tokenizer["model_max_length"] = first.manifest.max_tokens
    write_json(stage / "tokenizer_config.json", padded_rightly(tokenizer, first.manifest))
    for name in ("embed.mjs", *NPM_FILES):
        shutil.copyfile(STATIC / name, stage / name)
    modules = find_node_modules(filling.settings.get("node_modules"))
    if modules is not None:
        _write_page(filling, runtime_files(modules))
    filling.write(
        "readme.md.j2",
        "README.md",
        first=first.manifest,
        pooling=pooling_names(first.manifest),
        artifacts=artifacts,
        dtypes={scheme: dtype for scheme, (dtype, _) in FILES.items()},
        default=FILES[default][0],
        page=modules is not None,
        about=_about(stage),
        tested=TESTED,
        install=INSTALL,
        install_here=INSTALL_HERE,
        override=next((j.verdict for j in artifacts if j.verdict.verdict != "pass"), None),
    )
    return files


def _write_page(filling: Filling, runtime: Sequence[Path]) -> None:
    given = filling.settings
    articles = given.get("articles")
    questions = given.get("questions") or () if articles else invented_questions()

    def embed(
        folder: Path, manifest: Manifest, shown: Sequence[tuple[str, str, str]]
    ) -> StoredVectors:
        return write_vectors(
            filling.stage,
            folder,
            manifest,
            shown,
            questions=questions,
            cache=given.get("cache"),
            stages=given.get("stages") or silent,
        )

    write_page(
        filling.stage,
        runtime,
        [(judged.folder, judged.manifest) for judged in filling.artifacts],
        embed=embed,
        articles=articles,
        most=given.get("most_articles"),
    )


def _about(stage: Path) -> dict[str, Any]:
    path = stage / ABOUT_NAME
    return _read_json(path) if path.is_file() else {}


def check_transformersjs(
    folders: Sequence[Path], manifests: Sequence[Manifest], settings: Settings
) -> None:
    """Refuse graphs that a browser may not run, and a runtime that this tool does not know."""
    for folder, manifest in zip(folders, manifests, strict=True):
        flavour = manifest.options.get("flavour")
        if flavour != "web":
            traced = manifest.options.get("graph") == "traced"
            said = "a traced graph" if traced else f"of the flavour {flavour or 'portable'}"
            raise BadInput(
                f"'{folder}' ({manifest.name}) is {said}, which browsers may not run; export it "
                f"again: lawvault export onnx --quant {manifest.scheme} --flavour web"
            )
    modules = find_node_modules(settings.get("node_modules"))
    if modules is not None:
        runtime_files(modules)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"'{path}' is missing, and transformers.js needs it; export again") from None
    except ValueError as error:
        raise BadInput(f"'{path}' is not valid JSON ({error}); export again") from None
    if not isinstance(data, dict):
        raise BadInput(f"'{path}' holds no JSON object; export again")
    return data


def found_runtime() -> str:
    """Return the version of transformers.js that the page would carry, or nothing."""
    modules = find_node_modules()
    return modules.transformers if modules else ""


def missing_page(package: Path) -> str:
    """Return how to get the page where the package has none."""
    if (package / "index.html").is_file():
        return ""
    return (
        "packaged without the search page, transformers.js was not found; for the page, run: "
        f"{INSTALL}, then package again"
    )


def shown_articles(folder: Path) -> int:
    """Return how many of the user's articles the page of a package shows: invented ones are no
    user's."""
    about = folder / ABOUT_NAME
    if not about.is_file():
        return 0
    data = parse_json(about.read_bytes(), f"'{about}'", remedy="package again")
    return 0 if data["invented"] else int(data["articles"])


PACKAGER = Packager(
    name="transformersjs",
    room=__package__,
    verify="exporter.packages.transformersjs.verifier:verify_transformersjs",
    format="onnx",
    fill=fill_transformersjs,
    several=True,
    schemes=tuple(FILES),
    check=check_transformersjs,
    environment=found_runtime,
    remark=missing_page,
    shown_texts=shown_articles,
    hint="transformers.js takes ONNX: lawvault export onnx --flavour web",
)
