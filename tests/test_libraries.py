import re

import pytest

from longclip.util.libraries import require


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["json", "gone_1"], "need gone_1, which is not installed"),
        (["gone_1", "json", "gone_2"], "need gone_1, gone_2, which are not installed"),
    ],
)
def test_what_is_missing_is_named_with_what_installs_it(names: list[str], said: str) -> None:
    expected = re.escape(f'boats {said}: pip install "longclip[harbour]"')
    with pytest.raises(ValueError, match=f"^{expected}$"):
        require(names, needed_by="boats need", extra="harbour")


def test_what_is_there_needs_nothing() -> None:
    require(["json", "re"], needed_by="boats need", extra="harbour")
