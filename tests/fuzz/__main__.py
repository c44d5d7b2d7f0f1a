"""Random inputs, many of them, in a process with limited memory: `make fuzz`.

Every case must either work or end in an error that speaks to a user (`LongCLIPError`). Anything
else is reported with its seed, which makes the same case again: another exception, a crash, more
memory or more time than allowed.
"""

import argparse
import importlib
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

# Modules of this package with a function `attempt(seed, folder)`.
TARGETS = ("checkpoints", "filters", "service")

_MAX_REPORTED = 20


def main() -> None:
    options = parse_options(sys.argv[1:])
    failures = 0
    for target in options.targets or TARGETS:
        outcomes: Counter[str] = Counter()
        first, end = options.first, options.first + options.cases
        while first < end:
            first = _run_in_child(target, range(first, end), options, outcomes)
        print(
            f"{target}: {options.cases} cases under {options.memory_mb} MB and "
            f"{options.seconds} s each: {dict(outcomes.most_common())}"
        )
        failures += sum(count for outcome, count in outcomes.items() if "FAILURE" in outcome)
    sys.exit(failures > 0)


def parse_options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=[], choices=(*TARGETS, []))
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--cases", type=int, default=2000, help="number of cases of each target")
    parser.add_argument("--memory-mb", type=int, default=1000, help="memory beside the libraries'")
    parser.add_argument("--seconds", type=int, default=20, help="time of one case")
    return parser.parse_args(words)


def _run_in_child(
    target: str, seeds: range, options: argparse.Namespace, outcomes: Counter[str]
) -> int:
    """Run cases in a process of their own; return the first seed that is still to be run."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w", buffering=1) as lines:
            _run(target, seeds, options, lines)
        os._exit(0)
    os.close(write)
    last = seeds.start - 1
    with os.fdopen(read) as lines:
        for line in lines:
            seed, _, outcome = line.rstrip("\n").partition(" ")
            last = int(seed)
            outcomes[outcome] += 1
    _, status = os.waitpid(child, 0)
    if status and last + 1 < seeds.stop:
        print(f"{target} seed {last + 1}: the process died (status {status})")
        outcomes["FAILURE: died"] += 1
        return last + 2
    return seeds.stop


def _run(target: str, seeds: range, options: argparse.Namespace, lines: object) -> None:
    from longclip.errors import LongCLIPError

    attempt = importlib.import_module(f"tests.fuzz.{target}").attempt
    signal.signal(signal.SIGALRM, _too_slow)
    reported = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            signal.alarm(options.seconds)
            try:
                attempt(seed, Path(folder))
                outcome = "works"
            except LongCLIPError:
                outcome = "refused"
            except BaseException as error:
                outcome = f"FAILURE: {type(error).__name__}"
                if reported < _MAX_REPORTED:
                    reported += 1
                    print(f"{target} seed {seed}: {''.join(traceback.format_exception(error))}")
            signal.alarm(0)
        if seed == seeds.start:  # only now are all libraries loaded
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + options.memory_mb * 1_000_000
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(seed, outcome, file=lines)  # type: ignore[call-overload]


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TimeoutError("the case took too long")


if __name__ == "__main__":
    main()
