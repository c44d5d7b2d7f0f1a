"""What has left a source whose files are shards."""

from collections.abc import Mapping, Set
from dataclasses import replace

from longclip.search.lance import quoted
from longclip.search.planning import Plan
from longclip.search.reader import Known, Reader
from longclip.search.shards import DoneShard
from longclip.search.sources.image_source import SHARDS, container_of


def vanished(
    store: Reader, source: str, places: Set[str], done: Mapping[str, DoneShard]
) -> dict[str, Known]:
    """Images in shards that are not in their source any more.

    Args:
        store: the database.
        source: name of what has been indexed.
        places: its shards as it is now.
        done: what is kept of its shards.
    """
    left = set(done) - places
    where = f"source = {quoted(source)}"
    recorded = sum(shard.images for shard in done.values())
    if store.count(where) > recorded:
        # Some of its images have come in without a record, their shard not finished.
        there = store.containers(where) - places
        left.update(name for name in there if name.endswith(SHARDS))
    gone: dict[str, Known] = {}
    for place in sorted(left):
        gone |= store.known_in(place)
    return gone


def without_shards(plan: Plan, sharded: Mapping[str, Set[str]]) -> Plan:
    """A plan for files of their own, whose source also has shards: these have not gone."""
    places = set().union(*sharded.values())
    gone = {uri: known for uri, known in plan.gone.items() if container_of(uri) not in places}
    return replace(plan, gone=gone)
