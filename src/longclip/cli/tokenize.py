"""`longclip tokenize`."""

from longclip.cli.options import AsJson, read_text
from longclip.options import Text
from longclip.spec import STOCK_CONTEXT


def tokenize_command(
    text: Text = "-",
    /,
    *,
    context_length: int = STOCK_CONTEXT,
    as_json: AsJson = False,
) -> None:
    """Show a text as CLIP reads it: its tokens, and the part that is cut off.

    Example: `longclip tokenize "A red boat." --context-length 248`

    Parameters
    ----------
    text:
        The text; `-` reads it from standard input.
    context_length:
        Tokens of the model in question, begin and end included: 77 for CLIP, 248 for Long-CLIP.
    """
    import json

    from longclip.text.tokenizer import clip_tokenizer

    text = read_text(text)
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
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    print(f"{len(ids)} tokens of {context_length}, begin and end included")
    print("ids:", *ids)
    if lost:
        print(f"read: {result['read']}")
        print(f"cut off ({len(lost)} tokens): {result['cut']}")
