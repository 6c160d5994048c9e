"""A checkpoint against character-bigram BM25 on a corpus, with the interval of the difference.

python -m benchmarks.against_bm25 [--checkpoint FOLDER] [--corpus BEIR_FOLDER]
"""

import argparse
import platform
from pathlib import Path

from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.parity.statistics import paired_difference
from exporter.runtimes.torch_reference import TorchReference
from exporter.vectors.search import means, measure, search
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    arguments = parser.parse_args()
    checkpoint, corpus = read_checkpoint(arguments.checkpoint), read_corpus(arguments.corpus)
    encoder = TorchReference(checkpoint, dtype="bfloat16")
    prompts = checkpoint.prompts
    documents = encoder.encode(
        [
            prompts.render_document(text, title=title)
            for title, text in zip(corpus.titles, corpus.texts, strict=True)
        ]
    )
    queries = encoder.encode([prompts.render_query(q) for q in corpus.queries])
    keys = {"doc_ids": corpus.doc_ids, "query_ids": corpus.query_ids, "qrels": corpus.qrels}
    ours = measure(search(queries, documents), **keys)
    floor = measure(rank_by_bm25(corpus), **keys)
    difference = paired_difference(ours["mrr_at_10"], floor["mrr_at_10"])
    print(
        f"{corpus.name}: {len(corpus.doc_ids):,} documents, {len(corpus.query_ids):,} questions; "
        f"{platform.machine()}, {encoder.device}"
    )
    for name, values in ((checkpoint.name, ours), ("BM25, character bigrams", floor)):
        m = means(values)
        print(f"{name}: MRR@10 {m.mrr_at_10:.4f}, Hit@10 {m.hit_at_10:.4f}, Top-1 {m.top_1:.4f}")
    print(
        f"MRR@10 difference {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    )


if __name__ == "__main__":
    main()
