import longclip.text


def test_every_public_name_is_there() -> None:
    assert sorted(longclip.text.__all__) == dir(longclip.text)
    for name in longclip.text.__all__:
        assert getattr(longclip.text, name).__name__ == name
