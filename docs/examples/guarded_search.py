"""A search application that ships an index in LanceDB and asks Ollama for a question's vector.

    pip install lancedb
    python guarded_search.py PACKAGE DATABASE "房东不退押金怎么办" [--url http://localhost:11434]

PACKAGE: a package for Ollama. DATABASE: made by `lawvault index`. At its start it asks two things:
does the index lie in the space of the packaged file, and does Ollama still give its vectors?
"""

import argparse
import json
import sys

import lancedb


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("package")
    parser.add_argument("database")
    parser.add_argument("question")
    parser.add_argument("--table", default="laws_vectors")
    parser.add_argument("--url", default="http://localhost:11434")
    options = parser.parse_args()
    sys.path[:0] = [options.package, options.package + "/guard"]
    from client import embed_queries
    from guard import check, differences, load

    table = lancedb.connect(options.database).open_table(options.table)
    made_by = json.loads(table.schema.field("vector").metadata[b"lawvault"])["space"]
    space = load(options.package + "/space.json")
    apart = differences(made_by, space)
    if apart:
        print("the index is not of this model: " + "; ".join(apart), file=sys.stderr)
        return 1
    found = check(space, lambda text: embed_queries([text], url=options.url)[0], long=True)
    if not found["ok"]:
        print(f"{found['verdict']}: {found['said']}", file=sys.stderr)
        return 1
    vector = embed_queries([options.question], url=options.url)[0]
    for row in table.search(vector, vector_column_name="vector").limit(3).to_list():
        print(row["title"], row["text"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
