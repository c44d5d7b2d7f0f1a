"""The command line of `make fuzz`."""

from tests.fuzz.__main__ import TARGETS, parse_options


def test_targets_are_all_of_them_where_none_is_named() -> None:
    assert not parse_options([]).targets
    assert parse_options(["filters", "--first", "7"]).targets == ["filters"]
    assert parse_options([*TARGETS]).targets == [*TARGETS]
