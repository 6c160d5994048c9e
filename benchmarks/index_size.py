"""`lawvault index-size` on a sample of a corpus: how small an index of an artifact may be.

python -m benchmarks.index_size --artifact FOLDER --corpus BEIR --work FOLDER
    [--documents 6000] [--questions 400] [--output FOLDER]

The documents that answer a question and others up to --documents, and --questions of the questions
that prove (`benchmarks.sampled`), by the hash of their ids. Vectors in --work are kept.
"""

import argparse
import json
from pathlib import Path

from benchmarks.sampled import by_hash, split
from exporter.cli.main import main as lawvault
from exporter.corpus.beir import Corpus, read_corpus

RESULTS = Path(__file__).parent / "results" / "index_size"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    corpus = split(read_corpus(arguments.corpus), documents=arguments.documents).asked("proving")
    folder = arguments.work / f"{arguments.corpus.resolve().name}-sample"
    write_sample(corpus, folder, questions=arguments.questions)
    named = ["--corpus", folder, "--output", arguments.output, "--cache", arguments.work / "kept"]
    lawvault(["index-size", str(arguments.artifact), *map(str, named)])


def write_sample(corpus: Corpus, folder: Path, *, questions: int) -> None:
    """Write a corpus with some of its questions in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = zip(corpus.doc_ids, corpus.titles, corpus.texts, strict=True)
    rows = [{"_id": i, "title": title, "text": text} for i, title, text in documents]
    picked = by_hash(corpus.query_ids)[:questions]
    asked = [{"_id": corpus.query_ids[i], "text": corpus.queries[i]} for i in picked]
    for name, records in (("corpus", rows), ("queries", asked)):
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    judged = [
        f"{record['_id']}\t{document}\t{grade}\n"
        for record in asked
        for document, grade in corpus.qrels[record["_id"]].items()
    ]
    table = "query-id\tcorpus-id\tscore\n" + "".join(judged)
    (folder / "qrels" / "test.tsv").write_text(table, "utf-8")


if __name__ == "__main__":
    main()
