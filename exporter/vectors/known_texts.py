"""Texts by which a copy of a model is checked: where runtimes differ, some of them long."""

from exporter.checkpoint.contents import Prompts
from exporter.runtimes.encoder import Encoder

# Written for this file: short, long, Chinese legal, and the odd ones where runtimes differ.
QUERIES = (
    "押金",
    "房东一直拖着不退押金怎么办",
    "老板拖欠三个月工资，去哪里投诉？",
    "The landlord kept my deposit. What can I do?",
    "１２３　全角与 half-width 混排",
    "網上買的東西壞了，商家不給退",
    "第一行\n第二行",
    "emoji 😀 与生僻字 𠮷",
)
DOCUMENTS = (
    (
        "住房租赁示例条例 第三条",
        "第三条 押金应当在租赁关系终止后七日内退还；逾期的，按日支付利息。",
    ),
    (
        "示例办法 第九条",
        "第九条 经营者应当如实记录下列事项，保存不少于三年：\n（一）商品名称、数量和来源；\n"
        "（二）交易时间和对方名称；\n（三）售后处理的过程和结果。"
        + "前款记录可以采用电子形式，但应当能够随时调取查用，并保证内容完整、未被改动。"
        * 8,
    ),
)
TITLE = "示例办法 第十一条"
PARAGRAPHS = (
    "出租人收取押金的，应当在合同中写明数额、用途和退还期限；租赁期满，房屋及设施无损坏的，"
    "出租人应当自承租人交还房屋之日起七日内全额退还。逾期不退的，按日支付利息。",
    "经营者以预收款方式提供商品或者服务的，应当按照约定提供；未按照约定提供的，应当按照消费者的"
    "要求履行约定或者退回预付款，并承担消费者必须支付的合理费用。",
    "用人单位应当按月以货币形式向劳动者本人支付工资，不得克扣或者无故拖欠；因生产经营困难需要"
    "延期支付的，应当书面说明理由并告知支付日期。",
)
PARTS_OF_LIMIT = (0.4, 0.6, 0.8)
"""Lengths, as parts of the model's limit, of the documents that show a wrong sliding window."""
LONGEST = 8192
"""Tokens. A model that reads more gets no text that it cuts, and long ones as if this were its
limit: attention's square of more is time and memory that no proof is worth."""


def golden_texts(reference: Encoder, prompts: Prompts) -> list[tuple[str, str]]:
    """Return (`query` or `document`, text with its prompt), measured by the tokens of `reference`.

    The last text is so long that the reference cuts it, if that is no more than LONGEST: there a
    runtime that loses the end token by truncation shows.
    """
    found = [("query", prompts.render_query(text)) for text in QUERIES]
    found += [("document", prompts.render_document(t, title=title)) for title, t in DOCUMENTS]
    cut = _cut_text(reference, prompts)
    limit = len(reference.token_ids([cut])[0])
    most = min(limit, LONGEST)
    long = [_text_of(reference, prompts, part * most) for part in PARTS_OF_LIMIT]
    found += [("document", prompts.render_document(text, title=TITLE)) for text in long]
    return found if limit > LONGEST else [*found, ("document", cut)]


def long_text(encoder: Encoder, prompts: Prompts, *, tokens: int, part: float) -> str:
    """Return the text, without a prompt, of a document titled TITLE that has at most so many tokens
    with it, and fills at most such a part of the model's limit."""
    limit = len(encoder.token_ids([_cut_text(encoder, prompts)])[0])
    return _text_of(encoder, prompts, min(tokens, part * limit))


def _paragraphs(count: int) -> str:
    return "\n".join(f"第{i}款　{PARAGRAPHS[i % len(PARAGRAPHS)]}" for i in range(1, count + 1))


def _rendered(prompts: Prompts, count: int) -> str:
    return prompts.render_document(_paragraphs(count), title=TITLE)


def _cut_text(reference: Encoder, prompts: Prompts) -> str:
    """Return a document, no paragraph like another, that gives no more tokens when doubled."""
    count, before, tokens = 1, 0, 1
    text = ""
    while tokens > before:
        text = _rendered(prompts, count)
        before, tokens = tokens, len(reference.token_ids([text])[0])
        count *= 2
    return text


def _text_of(reference: Encoder, prompts: Prompts, tokens: float) -> str:
    """Return the longest such text of at most so many tokens, prompt included, of one paragraph at
    least."""
    count = 1
    while len(reference.token_ids([_rendered(prompts, count + 1)])[0]) <= tokens:
        count += 1
    return _paragraphs(count)
