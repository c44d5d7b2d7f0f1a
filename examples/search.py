"""Index images and find them by a paragraph, from Python.

Run it cell by cell in an editor that knows `# %%`, or at once. As it stands it takes half a minute
on two processor cores and fetches nothing; `pip install "longclip[search]"` is needed:

    python examples/search.py --out runs/example-search

For photos of your own name a CLIP that has seen photos:

    python examples/search.py --images photos --model BeichenZhang/LongCLIP-L \
        --text "A red boat lies on a beach. Behind it rises a white lighthouse."
"""

# %% What to use
import argparse
from pathlib import Path

import longclip
from longclip.search import Query, index, open_searcher

parser = argparse.ArgumentParser()
parser.add_argument("--images", default="scenes/val")
parser.add_argument("--model", default="nano", help="it is stretched if it reads fewer than 248")
parser.add_argument(
    "--text", default="A lighthouse rises behind a house. A red boat lies in front of it."
)
parser.add_argument("--out", type=Path, default=Path("runs/example-search"))
parser.add_argument("--count", type=int, default=5)
# A notebook has arguments of its own.
settings, _ = parser.parse_known_args()

# %% A model that reads long texts, kept where the database will find it again
model = longclip.load(settings.model)
name = settings.model
if model.context_length < 248:
    model = longclip.stretch(model, 248)
    name = str((settings.out / "model").absolute())
    longclip.save(model, name)

# %% A database; run it again to bring it up to date, then only new images are embedded
database = settings.out / "images.db"
report = index([settings.images], database, model, model_name=name)
print(f"{report.found} images, {report.embedded} embedded, {len(report.bad)} could not be used")

# %% Images for a description, and how well each of its sentences fits
searcher = open_searcher(str(database))
found = searcher.search(Query(settings.text, count=settings.count))
print("sentences:", *found.sentences, sep="\n  ")
for hit in found.hits:
    fits = " ".join(f"{score:+.1f}" for score in hit.sentences)
    print(f"{hit.similarity:.3f}  {hit.facts.uri}  {fits}")

# %% More like the best one, but without rain
best = found.hits[0].facts.id
for hit in searcher.search(Query(like=best, without=("rain",), count=settings.count)).hits:
    print(f"{hit.similarity:.3f}  {hit.facts.uri}")
