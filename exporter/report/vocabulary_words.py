"""What reports say of a vocabulary that was cut."""

from exporter.parity.results import CutVocabulary
from exporter.report.words import ENGLISH, Words


def show_vocabulary(cut: CutVocabulary, _: Words = ENGLISH) -> list[str]:
    """Return one line on what is kept, one on what is lost, and one on the texts that lost some."""
    lines = [
        _(
            "Vocabulary: %(pieces)s of %(of)s pieces. %(asked)s of %(questions)s questions and "
            "%(read)s of %(documents)s documents keep every piece: their vectors are those of the "
            "same file with the whole table.",
            pieces=f"{cut.pieces:,}",
            of=f"{cut.of:,}",
            asked=f"{cut.questions_identical:,}",
            questions=f"{cut.questions:,}",
            read=f"{cut.documents_identical:,}",
            documents=f"{cut.documents:,}",
        )
    ]
    if not cut.lost:
        return lines
    lines.append(
        _(
            "Lost: %(lost)s of %(occurrences)s pieces, spelled with shorter ones; most often "
            "%(most)s.",
            lost=f"{cut.lost:,}",
            occurrences=f"{cut.occurrences:,}",
            most=", ".join(f"`{lost.piece}` {lost.times:,}" for lost in cut.lost_most),
        )
    )
    if cut.cosine is not None:
        count = cut.documents + cut.questions - cut.documents_identical - cut.questions_identical
        lines.append(
            _(
                "The %(count)s texts that lost one: cosine to fp32 median %(median)s, least "
                "%(least)s.",
                count=f"{count:,}",
                median=f"{cut.cosine.median:.5f}",
                least=f"{cut.cosine.minimum:.5f}",
            )
        )
    if cut.mrr_at_10 is not None and cut.mrr_at_10_fp32 is not None:
        lines.append(
            _(
                "The %(count)s questions among them: MRR@10 %(ours)s, fp32's %(reference)s.",
                count=f"{cut.questions - cut.questions_identical:,}",
                ours=f"{cut.mrr_at_10:.4f}",
                reference=f"{cut.mrr_at_10_fp32:.4f}",
            )
        )
    return lines
