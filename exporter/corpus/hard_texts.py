"""Texts on which tokenizers differ when they differ at all. Their ids are compared in every run.

A corpus of clean sentences can agree on every id while questions as people type them do not.
Left out are what llama.cpp is known to merge otherwise: runs of spaces longer than the longest
piece, and a literal U+2581.
"""

BEYOND_ANY_CONTEXT = "用人单位应当按照劳动合同约定和国家规定，向劳动者及时足额支付劳动报酬。" * 150

HARD_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\n",
    "\t",
    "\u3000",
    "  \n  \n\n",
    "\r\n",
    "\u3000\u3000第一条\u3000总则\u3000",
    "a  b   c    d",
    " 前面有空格",
    "后面有空格 ",
    "第一条\n\n\n第二条\r\n\t（一）",
    "tab\tx",
    "ＡＢＣ１２３，．！？（）",
    "①㈱½ﬁ℃",
    "條例規定，應當",
    "𠮷野家𪚥龘䶮",
    "e\u0301 é",
    "ة ب עב ไทย",
    "😀👨‍👩‍👧‍👦🏳️‍🌈🇨🇳",
    "零\u200b宽\ufeff空格",
    "\x00a",
    "a\x7f\x80",
    "<eos>",
    "问<eos>答",
    "<bos>a<mask>b<unk>c<pad>",
    "<unused0>",
    "<start_of_turn>",
    "<|endoftext|>",
    "问<|im_end|>答",
    "<tool_call>",
    "<0x0A>",
    "<mas",
    "task: search result | query: 小区",
    "http://a.b/c?d=e&f=%20#g",
    "2026年11月23日12:30",
    "押金" * 400,
    BEYOND_ANY_CONTEXT,
)
