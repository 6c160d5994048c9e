"""The traps of this kind of checkpoint, each as a finding with its evidence in these files."""

from collections.abc import Sequence

from exporter.checkpoint.contents import DenseInfo, Finding, ModuleInfo, Prompts
from exporter.checkpoint.prompts import SavedPrompts, with_titles
from exporter.checkpoint.tokenizer import TokenizerFacts


def module_findings(
    modules: Sequence[ModuleInfo], dense: Sequence[DenseInfo], *, pooling: str, spelling: str
) -> list[Finding]:
    """Return the findings on the module chain."""
    found = [
        Finding(
            id="class-names",
            severity="info",
            evidence=f"modules are spelled {modules[1].class_name}, pooling as {spelling}",
            effect="readers that know one spelling only skip modules of the other",
            remedy="none needed here: both spellings are read",
        )
    ]
    if dense:
        chain = " -> ".join(f"{d.in_features}x{d.out_features}" for d in dense)
        found.append(
            Finding(
                id="dense-outside-backbone",
                severity="info",
                evidence=f"{len(dense)} Dense modules ({chain}) follow the {pooling} pooling",
                effect="an export of the backbone alone drops them; its vectors have a cosine "
                "near 0 to the right ones",
                remedy="none needed here: every artifact has them inside",
            )
        )
    found.append(
        Finding(
            id="batch-companions",
            severity="info",
            evidence=f"a batch is padded to its longest text ({modules[0].kind} encoder)",
            effect="a runtime that takes its activation scale over the batch gives a text another "
            "vector in other company",
            remedy="none needed here: no scheme takes a scale over a batch",
        )
    )
    return found


def tokenizer_findings(
    facts: TokenizerFacts, *, sentencepiece: bool, table_rows: int | None
) -> list[Finding]:
    """Return the findings on token ids, stripping and special tokens in user text."""
    found: list[Finding] = []
    if sentencepiece:
        missing = [n for n, has in (("BOS", facts.adds_bos), ("EOS", facts.adds_eos)) if not has]
        found.append(
            Finding(
                id="bos-eos",
                severity="error" if missing else "info",
                evidence=f"tokenizer.json does not add {' and '.join(missing)}"
                if missing
                else "tokenizer.json adds BOS and EOS, and no space in front",
                effect="a GGUF adds both, so its ids would differ from the reference's"
                if missing
                else "a runtime that drops one, or EOS at truncation, gives other vectors",
                remedy="restore the base model's tokenizer.json"
                if missing
                else "token ids are compared before vectors",
            )
        )
    if facts.first_difference is not None:
        found.append(
            Finding(
                id="tokenizers-disagree",
                severity="error",
                evidence="tokenizer.json and tokenizer.model give different ids for "
                f"{facts.first_difference!r}",
                effect="GGUF reads tokenizer.model, the reference and ONNX tokenizer.json: their "
                "vectors would differ",
                remedy="take both files from the base model",
            )
        )
    if facts.specials_in_text:
        found.append(
            Finding(
                id="special-token-text",
                severity="info",
                evidence="'<eos>' inside a text becomes the special token",
                effect="runtimes differ on such texts",
                remedy="remove special token names from user text before encoding",
            )
        )
    if table_rows is not None and facts.highest_id >= table_rows:
        found.append(
            Finding(
                id="token-beyond-table",
                severity="warning",
                evidence=f"the tokenizer has ids up to {facts.highest_id:,}, the embedding table "
                f"{table_rows:,} rows",
                effect="a text holding such a token's name cannot be encoded",
                remedy="remove that name from user text; ordinary text never gives such an id",
            )
        )
    found.append(
        Finding(
            id="text-stripping",
            severity="info",
            evidence="texts are encoded as given",
            effect="sentence-transformers 5.x strips white space at both ends (U+3000 and newlines "
            "too), 6.x and serving runtimes do not; vectors of texts with such ends differ",
            remedy="strip before encoding, on both sides of an index",
        )
    )
    return found


def prompt_findings(used: Prompts, saved: SavedPrompts) -> list[Finding]:
    """Return the finding that says which prompts are used, beside those that were saved."""
    titled = with_titles(saved.own)
    evidence = f"used: {used.described}"
    if not saved.named:
        evidence += "; none are saved"
    elif used != saved.own:
        evidence += f"; saved: {saved.own.described}"
    remedy = "name the convention of your index with --prompts or in a recipe"
    if used == saved.own and titled is not None:
        remedy += f"; EmbeddingGemma's card has titled documents as {titled.document!r}"
    return [
        Finding(
            id="prompts",
            severity="info",
            evidence=evidence,
            effect="a wrong prompt moves every vector",
            remedy=remedy,
        )
    ]
