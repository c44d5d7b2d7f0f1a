import re

import pytest

from longclip.util.libraries import REQUIREMENTS, require_libraries


@pytest.mark.parametrize(
    ("modules", "need"),
    [
        (["json", "gone_1"], "need gone_1, which is not installed"),
        (["gone_1", "json", "gone_2"], "need gone_1, gone_2, which are not installed"),
    ],
)
def test_what_is_missing_is_named_with_what_installs_it(
    modules: list[str], need: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REQUIREMENTS, "harbour", ("boats need", tuple(modules)))
    expected = re.escape(f'boats {need}: pip install "longclip[harbour]"')
    with pytest.raises(ValueError, match=f"^{expected}$"):
        require_libraries("harbour")


def test_what_is_there_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUIREMENTS, "harbour", ("boats need", ("json", "re")))
    require_libraries("harbour")
