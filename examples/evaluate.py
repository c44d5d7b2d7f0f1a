"""Measure models, say how sure the numbers are, and write tables and a report, from Python.

Run it cell by cell in an editor that knows `# %%`, or at once. As it stands it takes a minute on
two processor cores and fetches nothing:

    python examples/evaluate.py --out runs/example-evaluation

`--model` takes what `longclip eval` takes, also `open_clip:…`, `transformers:…` and
`sentence-transformers:…`, and may be repeated; so may `--data`.
"""

# %% What to use
import argparse
from pathlib import Path

import longclip
from longclip.data import open_collection
from longclip.evaluation import (
    EvaluateConfig,
    compare_recall,
    evaluate,
    open_encoder,
    recall_by_length,
    results_tables,
)
from longclip.report import model_report, write_report

parser = argparse.ArgumentParser()
parser.add_argument("--model", action="append", default=[])
parser.add_argument("--data", default="scenes/val")
parser.add_argument("--out", type=Path, default=Path("runs/example-evaluation"))
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()
settings.out.mkdir(parents=True, exist_ok=True)

# %% Two models: those that are named, or nano with 77 tokens and nano stretched to 248
if settings.model:
    encoders = {name: open_encoder(name) for name in settings.model}
else:
    nano = longclip.load("nano")
    encoders = {"nano": nano, "nano, stretched": longclip.stretch(nano, 248)}

# %% Recall by long and by short texts, and zero-shot accuracy where the data has labels
data = open_collection(settings.data)
config = EvaluateConfig(batch_size=128)
results = {
    name: evaluate(model, data, name=name, config=config) for name, model in encoders.items()
}
for table in results_tables({name: [result] for name, result in results.items()}):
    print(f"{table.title} ({table.note})")
    for row in table.rows:
        cells = zip(table.columns, row.cells, strict=True)
        print(f"  {row.model}:", *(f"{column} {cell.percent}" for column, cell in cells if cell))

# %% How sure: 95 % intervals of one model, and a paired comparison of two on the same queries
measured = {name: result for name, result in results.items() if result.long}
for name, result in measured.items():
    print(f"{name}: R@1, text to image: {result.long.intervals().text_to_image[1]}")
first, *others = measured.values()
for other in others:
    compared = compare_recall(first.long.recall, other.long.recall, first.long.image_of_text)
    print(f"{other.name} over {first.name}: {compared.text_to_image[1]}")

# %% Recall against the number of tokens that are kept of each text
for name, result in measured.items():
    curve = recall_by_length(
        encoders[name],
        result.image_embeddings,
        result.long.pool.texts,
        result.long.image_of_text,
        tokens=(20, 40, 75, 100, 150),
    )
    print(name, dict(zip(curve.tokens, curve.text_to_image, strict=True)))

# %% A report in one file
report = settings.out / "report.html"
write_report(report, model_report(list(results.values()), None, "examples/evaluate.py"))
print(f"written: {report}")
