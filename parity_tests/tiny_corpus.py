"""A small seeded corpus in BEIR's layout, for tests."""

import json
import random
from pathlib import Path

from parity_tests.tiny_checkpoint import SENTENCES


def make_tiny_corpus(folder: Path, *, documents: int = 60, questions: int = 30) -> Path:
    """Write a corpus whose questions are cut out of their documents. Returns `folder`.

    The last document repeats the first, so that real ties occur.
    """
    rng = random.Random(0)
    (folder / "qrels").mkdir(parents=True)
    records = []
    for i in range(documents - 1):
        head, tail = rng.choice(SENTENCES), rng.choice(SENTENCES)
        text = head[: rng.randint(6, len(head))] + tail[rng.randint(0, len(tail) - 6) :] + str(i)
        records.append({"_id": f"d{i:03}", "title": tail[:6], "text": text})
    records.append({**records[0], "_id": f"d{documents - 1:03}"})
    asked = [
        {"_id": f"q{i:03}", "text": records[i]["text"][2 : 2 + rng.randint(4, 14)] + f"怎么办{i}"}
        for i in range(questions)
    ]
    for name, rows in (("corpus", records), ("queries", asked)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    qrels = "".join(f"q{i:03}\td{i:03}\t1\n" for i in range(questions))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels, "utf-8")
    return folder
