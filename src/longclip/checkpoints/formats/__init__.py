"""File formats of checkpoints.

`huggingface`, `openai`, `openclip`, `declip` and `longclip` each read the models of one family of
programs: `recognise` says whether a source is one, `open` reads it. `safetensors`, `torchscript`
and `json` are the containers those lie in; `sentence_transformers` writes what that library wants
beside a model's own files.
"""
