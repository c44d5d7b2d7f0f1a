"""A small tokenizer.json with a vocabulary of its own; those of SigLIP are larger."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

_WORDS = "a red dog runs over the green grass while two small cats sleep in an old house"


def write_unigram(directory: Path, *, begin: str = "", **config: Any) -> int:
    """Write tokenizer.json and tokenizer_config.json; return the number of ids.

    Every text ends in </s>, whose id is 1, and begins with `begin` where that is one of the special
    tokens.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator([f"{_WORDS} {i}" for i in range(200)], trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in special]
    single = f"{begin} $A </s>".strip()
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return int(tokenizer.get_vocab_size())
