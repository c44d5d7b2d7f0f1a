"""`longclip tokenize`."""

from longclip.cli.options import AsJson, full_name, read_text
from longclip.options import Text
from longclip.spec import STOCK_CONTEXT


def tokenize_command(
    text: Text = "-",
    /,
    *,
    model: str = "",
    context_length: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Show a text as CLIP, or another model, reads it: its tokens, and the part that is cut off.

    Example: `longclip tokenize "A red boat." --context-length 248`

    Parameters
    ----------
    text:
        The text; `-` reads it from standard input.
    model:
        A model whose tokenizer and context are taken, as everywhere; without one they are CLIP's.
    context_length:
        Tokens of the model in question, begin and end included; the model's by default, 77 for a
        CLIP (248 for a Long-CLIP).
    """
    import json

    from longclip.text.tokenizer import TextTokenizer, clip_tokenizer, own_ids

    model = model and full_name(model)
    text = read_text(text)
    tokenizer: TextTokenizer = clip_tokenizer()
    if model:
        from longclip.model.pretrained import open_checked

        _, opened = open_checked(model, tower="text")
        tokenizer = opened.tokenizer
        if context_length is None:
            context_length = opened.context_length
    context_length = STOCK_CONTEXT if context_length is None else context_length
    [ids] = tokenizer.encode([text])
    [kept] = tokenizer.encode([text], context_length=context_length)
    own, own_kept = own_ids(tokenizer, ids), own_ids(tokenizer, kept)
    lost = own[len(own_kept) :]
    result = {
        "count": len(ids),
        "context_length": context_length,
        "tokens_cut": len(lost),
        "read": tokenizer.decode(own_kept),
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
