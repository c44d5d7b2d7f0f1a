"""The directory of a run: what it holds, and how the run goes on from it."""
