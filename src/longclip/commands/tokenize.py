"""`longclip tokenize`."""

import sys
from typing import Annotated

from cyclopts import Parameter


def tokenize_command(
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    context_length: int = 77,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a text as CLIP reads it: its token ids, their number, and what would be cut off.

    Example: `longclip tokenize "A red boat." --context-length 248`

    Parameters
    ----------
    text:
        The text; `-` reads it from standard input.
    context_length:
        Tokens of the model in question, begin and end included: 77 for CLIP, 248 for Long-CLIP.
    json:
        Print ids, count, and the kept and the cut part as JSON.
    """
    import json as json_format

    from longclip.inputs import clip_tokenizer

    text = sys.stdin.read() if text == "-" else text
    tokenizer = clip_tokenizer()
    [ids] = tokenizer.encode([text])
    [kept] = tokenizer.encode([text], context_length=context_length)
    lost = ids[len(kept) - 1 : -1] if len(ids) > context_length else []
    result = {
        "count": len(ids),
        "context_length": context_length,
        "tokens_cut": len(lost),
        "read": tokenizer.decode(kept[1:-1]),
        "cut": tokenizer.decode(lost),
        "ids": ids,
    }
    if json:
        print(json_format.dumps(result, ensure_ascii=False))
        return
    print(f"{len(ids)} tokens of {context_length}, begin and end included")
    print("ids:", *ids)
    if lost:
        print(f"read: {result['read']}")
        print(f"cut off ({len(lost)} tokens): {result['cut']}")
