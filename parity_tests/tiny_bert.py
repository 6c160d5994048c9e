"""Tiny seeded BERT and RoBERTa checkpoints, made by transformers' own classes, for tests."""

from pathlib import Path
from typing import Any

from parity_tests.layout import write_json
from parity_tests.tiny_checkpoint import SENTENCES

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_tiny_bert(
    folder: Path,
    *,
    kind: str = "bert",
    pooling: str = "mean",
    layers: int = 3,
    hidden: int = 64,
    heads: int = 4,
    intermediate: int = 96,
    max_tokens: int = 48,
    normalize: bool = True,
    **config: Any,
) -> Path:
    """Write a checkpoint with random weights and a real tokenizer: WordPiece for `bert`, a
    SentencePiece Unigram for `xlm-roberta` and `roberta`. Returns `folder`.

    Gains of norms have outliers, as those of trained models: one channel is eight times the others.
    """
    import torch
    import transformers

    folder.mkdir(parents=True)
    tokenizer = _word_piece(folder) if kind == "bert" else _unigram(folder)
    numbers = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": max_tokens + (0 if kind == "bert" else 2),
        "pad_token_id": tokenizer.pad_token_id,
        "layer_norm_eps": 1e-5,
        "type_vocab_size": 2 if kind == "bert" else 1,
        **config,
    }
    names = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
    torch.manual_seed(0)
    made = getattr(transformers, names[kind] + "Model")(
        getattr(transformers, names[kind] + "Config")(**numbers)
    )
    with torch.no_grad():
        for name, values in made.named_parameters():
            drawn = torch.randn_like(values)
            if name.endswith("LayerNorm.weight"):
                drawn = 1 + 0.1 * drawn
                drawn[len(name) % hidden] *= 8
            elif values.ndim == 1:
                drawn *= 0.1
            else:
                drawn *= 1.5 / values.shape[-1] ** 0.5
            values.copy_(drawn)
    made.save_pretrained(folder)
    tokenizer.model_max_length = max_tokens
    tokenizer.save_pretrained(folder)
    _write_modules(folder, pooling=pooling, hidden=hidden, normalize=normalize)
    limits = {"max_seq_length": max_tokens, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", limits)
    return folder


def _word_piece(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    letters = sorted({letter for text in SENTENCES for letter in text.lower() if letter.strip()})
    letters = sorted({*letters, *"abcdefghijklmnopqrstuvwxyz0123456789"})
    pieces = (*SPECIAL, *letters, *(f"##{letter}" for letter in letters), "the", "##lord", "land")
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True)


def _unigram(folder: Path) -> Any:
    import sentencepiece
    from transformers import XLMRobertaTokenizerFast

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "sentencepiece.bpe"),
        model_type="unigram",
        vocab_size=300,
        character_coverage=1.0,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    return XLMRobertaTokenizerFast(str(folder / "sentencepiece.bpe.model"))


def _write_modules(folder: Path, *, pooling: str, hidden: int, normalize: bool) -> None:
    chain = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    write_json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(chain)
        ],
    )
    modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    config = {
        "word_embedding_dimension": hidden,
        **{key: mode == pooling for mode, key in modes.items()},
    }
    write_json(folder / "1_Pooling" / "config.json", config)
    if normalize:
        (folder / "2_Normalize").mkdir()
