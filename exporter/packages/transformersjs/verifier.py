"""A package for transformers.js in Node, in Chromium on WebAssembly, and there on WebGPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import BadInput, unknown_name
from exporter.packages.golden import Golden
from exporter.packages.golden_check import check_answers
from exporter.packages.manifest import PackagedArtifact
from exporter.packages.pooling import pooling_names
from exporter.packages.shipped import foreign_scripts
from exporter.packages.transformersjs.article_vectors import read_some, rendered
from exporter.packages.transformersjs.chromium import find_chromium, open_chromium, serve
from exporter.packages.transformersjs.node import find_node, first_line, run_in_node
from exporter.packages.transformersjs.npm import WASM, require_node_modules, runtime_files
from exporter.packages.transformersjs.packager import FILES, STATIC
from exporter.packages.transformersjs.scripts import scripts_of_transformersjs
from exporter.packages.verify import Proof
from exporter.vectors.rows import Vectors

ANSWERS = ("ids", "vectors", "pooled")
COMPARED_ARTICLES = 3
HALF = ("fp16", "q4f16")
TIMEOUT_MS = 1_800_000
IN_BROWSER = """async ([runtime, build, task]) => {
  const transformers = await import(runtime + "transformers.min.js");
  const { env } = transformers;
  env.allowRemoteModels = env.useBrowserCache = env.useWasmCache = false;
  const at = (ending) => location.origin + runtime + build + "." + ending;
  env.backends.onnx.wasm.wasmPaths = { mjs: at("mjs"), wasm: at("wasm") };
  if (task.device === "webgpu" && !(await navigator.gpu?.requestAdapter())) {
    throw new Error("this Chromium gives no WebGPU adapter");
  }
  const { prove } = await import("/proof/prove.mjs");
  return prove(transformers, await import("/package/embed.mjs"), task);
}"""
Answer = Mapping[str, Any]


def verify_transformersjs(
    folder: Path,
    entry: PackagedArtifact,
    golden: Golden,
    *,
    threads: int | None = None,
    runtime: Sequence[str] = (),
    node_modules: Path | None = None,
) -> list[Proof]:
    """Run the file in each of `runtime` (all by default), and compare. Every missing dependency
    is met before the first model is loaded.

    Raises BadInput or MissingDependency.
    """
    del threads  # transformers.js has no such option
    foreign = foreign_scripts(folder, scripts_of_transformersjs())
    if foreign:
        return [Proof("scripts", foreign)]
    for name in runtime:
        if name not in RUNTIMES:
            raise unknown_name("--runtime", name, RUNTIMES)
    chosen = [name for name in RUNTIMES if not runtime or name in runtime]
    dtype = FILES[entry.artifact.scheme][0]
    some = read_some(folder, entry.artifact.scheme, count=COMPARED_ARTICLES)
    articles = [rendered(article, entry.artifact.prompts) for article in some[0]] if some else []
    task = {
        "dtype": dtype,
        "texts": [*(text.text for text in golden.texts), *articles],
        "pooling": pooling_names(entry.artifact).transformersjs,
    }
    provers = [(name, RUNTIMES[name](folder, node_modules)) for name in chosen]
    proofs = []
    for name, prove in provers:
        title = f"{dtype} in {name}"
        if name == "webgpu" and entry.artifact.scheme in HALF:
            proofs.append(
                Proof(
                    title,
                    (),
                    status="info",
                    told="needs 16-bit shaders, which the "
                    "adapter in software lacks; proven on the processor",
                )
            )
            continue
        try:
            answer = prove(task)
        except BadInput as error:
            proofs.append(Proof(title, [str(error)]))
            continue
        found = answer["vectors"][len(golden.texts) :]
        answer = {**answer, **{k: answer[k][: len(golden.texts)] for k in ANSWERS}}
        failures = list(_failures(golden, answer))
        told = _told(golden, answer)
        if some is not None:
            failures += _other_articles(golden, found, some[1])
            told += f"; the stored vectors of {len(found)} articles are this file's"
        proofs.append(Proof(title, failures, told=told))
    return proofs


def _other_articles(
    golden: Golden, found: Sequence[Sequence[float]], stored: Vectors
) -> Iterator[str]:
    """Yield a line where packaged vectors of articles are not those of the packaged file."""
    limit = max(text.distance_max for text in golden.texts)
    far = max(1 - _cosine(a, b) for a, b in zip(found, stored.tolist(), strict=True))
    if not far <= limit:
        yield (
            f"the stored vectors of articles are {far:.1e} from this file's (1 - cosine), at most "
            f"{limit:.1e} is right: they were made by another"
        )


def _node(folder: Path, node_modules: Path | None) -> Callable[[Answer], Answer]:
    modules = require_node_modules(node_modules)
    find_node()

    def prove(task: Answer) -> Answer:
        given = {
            "transformers": modules.entry.as_uri(),
            "embed": (folder / "embed.mjs").resolve().as_uri(),
        }
        answer = run_in_node(STATIC / "prove.mjs", {**task, **given, "cut": True})
        return {
            **answer,
            "versions": f"transformers.js {modules.transformers}, onnxruntime-node "
            f"{modules.onnxruntime_node}, Node {answer['node']}",
        }

    return prove


def _chromium(
    folder: Path, node_modules: Path | None, *, device: str
) -> Callable[[Answer], Answer]:
    vendor = folder / "page" / "vendor"
    modules = None if vendor.is_dir() else require_node_modules(node_modules)
    runtime = sorted(vendor.iterdir()) if modules is None else runtime_files(modules)
    find_chromium()
    places = {
        "/package/": folder,
        "/proof/": STATIC,
        **{f"/runtime/{path.name}": path for path in runtime},
    }

    def prove(task: Answer) -> Answer:
        with serve(places) as url, open_chromium() as browser:
            page = browser.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(f"{url}/proof/prove.mjs")  # shown as text; its origin is what counts
            given = ["/runtime/", WASM[device], {**task, "device": device}]
            try:
                answer: Answer = page.evaluate(IN_BROWSER, given)
            except Exception as error:  # noqa: BLE001 - playwright's errors, told by their line
                raise BadInput(f"Chromium: {first_line(str(error))}") from None
            return {**answer, "versions": f"Chromium {browser.version}"}

    return prove


def _failures(golden: Golden, answer: Answer) -> Iterator[str]:
    """Yield a line for each thing in which AutoModel's answers, or the pipeline's, are not golden.

    Texts that are cut count for AutoModel alone: the pipeline cuts their end token away.
    """
    for line in check_answers(golden, answer["ids"], answer["vectors"]):
        yield f"AutoModel: {line}"
    whole = [i for i in range(len(golden.texts)) if i not in _cut(golden)]
    for line in check_answers(golden, None, [answer["pooled"][i] for i in whole], only=whole):
        yield f"pipeline: {line}"


def _told(golden: Golden, answer: Answer) -> str:
    own = [_cosine(v, t.vector) for v, t in zip(answer["vectors"], golden.texts, strict=True)]
    told = (
        f"{len(golden.texts)} texts agree, AutoModel and pipeline, cosine at least "
        f"{min(own):.6f} ({answer['versions']})"
    )
    lost = [
        _cosine(answer["pooled"][i], golden.texts[i].vector)
        for i in _cut(golden)
        if answer["pooled"][i] is not None
    ]
    if lost:
        told += f"; texts that the pipeline cuts: cosine {min(lost):.4f}"
    return told


def _cut(golden: Golden) -> list[int]:
    return [i for i in range(len(golden.texts)) if golden.is_cut(i)]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


RUNTIMES: Mapping[str, Callable[[Path, Path | None], Callable[[Answer], Answer]]] = {
    "node": _node,
    "chromium": partial(_chromium, device="wasm"),
    "webgpu": partial(_chromium, device="webgpu"),
}
