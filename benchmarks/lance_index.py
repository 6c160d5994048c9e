"""What a LanceDB table and its approximate index make of an artifact's questions.

    python -m benchmarks.lance_index --corpus FOLDER [--made-by torch|int8]

Exports int8, builds a table of the corpus (in torch bf16, as an application did that exists
already, or with int8), adds an IVF-PQ index with LanceDB's defaults, and asks the corpus's
questions in torch fp32, torch bf16 and int8: exactly by L2 and cosine, then through the index at
several settings. Stated are the overlap with the references and the index's own recall against
exact search. LanceDB's own exact search is asked, too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import lancedb

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import Corpus, read_corpus
from exporter.corpus.questions import Questions
from exporter.formats.onnx.export import export_onnx
from exporter.formats.open import artifact_source
from exporter.recipe import read_recipe
from exporter.report.table_markdown import render_index_markdown
from exporter.runtimes.encoder import Original, Progress
from exporter.runtimes.identity import processor
from exporter.runtimes.original import open_original
from exporter.tables.build import build_index
from exporter.tables.columns import Columns
from exporter.tables.lance_table import LanceTable
from exporter.tables.open_table import open_table
from exporter.tables.run import Asking, run_index_parity
from exporter.tables.search import METRICS, scan_table, search_table
from exporter.tables.vector_table import Vectors
from exporter.vectors.embed import embed_each
from parity_tests.foreign_table import write_table

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ((None, None), (None, 10), (100, 10))
"""nprobes and refine factor; the first are LanceDB's own."""


def stages(step: str, total: int) -> Progress:
    """Print each long step once."""
    print(f"  {step}: {total:,}", flush=True)
    return lambda done: None


def chosen_documents(corpus: Corpus, count: int | None) -> dict[str, tuple[str, str]]:
    """Return every right answer and the first others, `count` documents or all."""
    every = dict(zip(corpus.doc_ids, zip(corpus.titles, corpus.texts, strict=True), strict=True))
    answers = {d for grades in corpus.qrels.values() for d in grades}
    order = sorted(every, key=lambda name: (name not in answers, name))
    return {name: every[name] for name in order[: count or len(order)]}


def same_lists(table: LanceTable, vectors: Vectors) -> None:
    """Print for how many questions LanceDB's own exact search finds the same ten."""
    scan = scan_table(table, progress=lambda done: None)
    ours = search_table(table, scan, {"": vectors}, progress=lambda done: None)
    for metric in METRICS:
        began = time.perf_counter()
        theirs = table.search(vectors, metric=metric, exact=True)
        seconds = time.perf_counter() - began
        found = [[scan.ids[int(i)] for i in row] for row in ours["", metric]]
        same = sum(set(a) == set(b) for a, b in zip(found, theirs, strict=True))
        print(
            f"LanceDB's exact search by {metric}: the same ten for {same:,} of {len(found):,} "
            f"questions ({seconds:.1f} s)"
        )


def build_in_torch(
    folder: Path, documents: dict[str, tuple[str, str]], *, original: Original, cache: Path
) -> Columns:
    """Write the table as an application does that has the original and nothing of this tool."""
    prompts = original.checkpoint.prompts
    titles, texts = zip(*documents.values(), strict=True)
    rendered = [
        prompts.render_document(text, title=title)
        for title, text in zip(titles, texts, strict=True)
    ]
    rows = embed_each(original.used, rendered, cache=cache, start=stages)
    write_table(folder, rows.block(0, len(rows)), ids=list(documents), texts=texts, titles=titles)
    table = lancedb.connect(folder).open_table("laws_vectors")
    table.create_index(
        metric="l2", vector_column_name="vector", index_type="IVF_PQ", num_sub_vectors=None
    )
    return Columns(text="content", title="law")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--documents", type=int, help="so many of them; default: all")
    parser.add_argument("--queries", type=Path, help="another queries.jsonl of the corpus")
    parser.add_argument(
        "--checkpoint", type=Path, default=ROOT / "parity_tests" / "fixtures" / "lawvault-mini"
    )
    parser.add_argument("--made-by", choices=("torch", "int8"), default="torch")
    parser.add_argument("--cache", type=Path, help="folder of vectors kept from an earlier run")
    given = parser.parse_args()
    recipe = read_recipe(ROOT / "recipes" / "lawvault.toml")
    checkpoint = read_checkpoint(given.checkpoint, prompts=recipe.prompts)
    corpus = read_corpus(given.corpus, queries=given.queries)
    documents = chosen_documents(corpus, given.documents)
    questions = Questions(corpus.name, corpus.query_ids, corpus.queries, corpus.sha256)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = given.cache or folder / "vectors"
        artifact = folder / "onnx-int8"
        export_onnx(checkpoint, artifact, scheme="int8")
        began = time.perf_counter()
        original = open_original(checkpoint)
        if given.made_by == "torch":
            columns = build_in_torch(folder / "db", documents, original=original, cache=cache)
        else:
            columns = Columns(text="text", title="title")
            build_index(
                artifact,
                documents,
                corpus=corpus.name,
                output=folder / "db",
                table="laws_vectors",
                columns=columns,
                cache=cache,
                stages=stages,
                ivf_pq=True,
            )
        table = open_table(folder / "db", table="laws_vectors", columns=columns)
        print(
            f"{len(documents):,} rows of {table.dim} by {given.made_by}, embedded or found in "
            f"the cache, with the index in {time.perf_counter() - began:.1f} s"
        )
        for nprobes, refine in SETTINGS:
            report, run = run_index_parity(
                [artifact],
                original=original,
                table=table,
                questions=questions,
                recipe=recipe,
                artifact_source=artifact_source,
                stages=stages,
                cache=cache,
                machine=processor(),
                asking=Asking(nprobes=nprobes, refine_factor=refine),
            )
            text = render_index_markdown(report, run)
            start = (
                text.index("## Exact") if nprobes is refine is None else text.index("## Through")
            )
            print(text[start:])
            print(run.seconds)
        rendered = [checkpoint.prompts.render_query(text) for text in corpus.queries]
        rows = embed_each(original.used, rendered, cache=cache, start=stages)
        same_lists(table, rows.cut(table.dim).block(0, len(rows)))


if __name__ == "__main__":
    main()
