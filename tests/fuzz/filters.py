"""Filters at random against a slow evaluation, and broken ones, within a limit of memory.

python -m tests.fuzz.filters --seeds 10000
"""

import argparse
import resource
import tempfile
from pathlib import Path

from lancedb.index import BTree

from tests.helpers.databases import database
from tests.helpers.random_filters import check_filter, table_rows

MEMORY = 1 << 30
"""Bytes beyond what the process has when it begins."""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seeds", type=int, default=10_000)
parser.add_argument("--first", type=int, default=0)


def main(seeds: range) -> None:
    rows = table_rows()
    with tempfile.TemporaryDirectory() as place:
        store = database(Path(place), rows)
        # Half of the table is in an index, as where images came in after it was made.
        store.delete([row.facts.uri for row in rows[20:]])
        store.table.create_index("uri", config=BTree())
        store.put(rows[20:])
        store.count("uri > ''")
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        refused = sum(check_filter(store, rows, seed) for seed in seeds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(seeds):,} seeds: {refused:,} broken filters refused, peak {peak:.0f} MiB")


if __name__ == "__main__":
    options = parser.parse_args()
    main(range(options.first, options.first + options.seeds))
