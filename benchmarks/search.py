"""Image search: indexing, queries, and a server under load, ours beside what others use.

    python benchmarks/search.py --index
    python benchmarks/search.py --queries
    python benchmarks/search.py --indexes
    python benchmarks/search.py --load
    python benchmarks/search.py --costs

`--index`: images per second from JPEG files into something that can be searched, the same weights
everywhere (random, ViT-B/16's shape). Embeddings are compared first.

- longclip: what `longclip index` calls; hashes, reads EXIF and makes thumbnails as well; by torch,
  and in 8 bits by onnxruntime and OpenVINO
- sentence-transformers: `SentenceTransformer.encode` of the files, kept as an array
- clip-retrieval's loop: a transcription of its inference with open_clip, and of the index that it
  has autofaiss make. Its own package asks for numpy 1, pyarrow below 16, sentence-transformers 2
  and torchvision, so it cannot be installed beside the others (see search_peers.py)

`--queries`: seconds of a query, share of the 10 nearest that it finds, and what it took to get
there, among made-up vectors of width 512, for queries that lie among them (as those of images do)
and apart from them (as those of texts do). Thumbnails are left out of the table.

`--indexes`: the kinds of vector index that LanceDB has, over the same vectors: time, recall, and
what it took to make them.

`--load`: `longclip serve` with ever more clients that ask for long descriptions, each as soon as it
has its answer; one that is told to try again later (429) waits as long as it is told. Then the
server is stopped with requests under way, and all of them must be answered.

`--costs`: what one image takes at each step, with Ray and without, and how fast rows come into a
database of the size of `--vectors`, which `--queries` has made.

Contestants take turns, each in a process of its own, so that whatever else the machine does hits
all alike. What is made is kept in `--out` and used again; delete it to make it anew. Beyond
`longclip[search,dev]` it needs: pip install faiss-cpu open_clip_torch. A GPU is not used.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import search_costs
import search_indexes
import search_indexing
import search_load
import search_queries
from search_jobs import setting

JOBS: dict[str, Callable[..., object]] = {
    "index": search_indexing.measure,
    "build": search_queries.measure_building,
    "ask": search_queries.measure_asking,
    "make_index": search_indexes.measure_making,
    "try_index": search_indexes.measure_settings,
    "load": search_load.measure,
    "stop": search_load.measure_stopping,
    "steps": search_costs.measure_steps,
    "write": search_costs.measure_writing,
    "engine": search_costs.measure_engine,
}
"""What runs in processes of its own."""


def main() -> None:
    """Run what is asked for."""
    a = _options()
    if a.job:
        name, options = json.loads(a.job)
        print(json.dumps(JOBS[name](**options)))
        return
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(setting())
    a.out.mkdir(parents=True, exist_ok=True)
    if a.index:
        search_indexing.compare(a)
    if a.queries:
        search_queries.compare(a)
    if a.indexes:
        search_indexes.compare(a)
    if a.load:
        search_load.compare(a)
    if a.costs:
        search_costs.compare(a)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--index", action="store_true")
    add("--queries", action="store_true")
    add("--indexes", action="store_true")
    add("--load", action="store_true")
    add("--costs", action="store_true")
    add("--out", type=Path, default=Path("runs/search"), help="for what is made")
    add("--rounds", type=int, default=3)
    add("--only", nargs="+", help="contestants whose names begin like this")
    add("--architecture", default="ViT-B/16", help="of random weights; `nano` for the bundled one")
    add("--images", type=Path, help="--index: a folder of .jpg files alone; made up by default")
    add("--count", type=int, default=256, help="--index: images to make up")
    add("--pixels", default="1024x768", help="--index: of these images")
    add("--vectors", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="--queries")
    add("--exact-below", type=int, help="--queries: rows from which ours makes an index")
    add("--rows", type=int, default=10_000, help="--load: images in the database")
    add("--clients", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="--load")
    add("--seconds", type=float, default=20, help="--load: for each number of clients")
    add("--serve", nargs="*", default=[], help="--load: options of `longclip serve`, without --")
    add("--job", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if not (a.index or a.queries or a.indexes or a.load or a.costs or a.job):
        parser.error("say what to measure: --index, --queries, --indexes, --load, --costs")
    return a


if __name__ == "__main__":
    main()
