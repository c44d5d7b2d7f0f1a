import longclip.inputs


def test_every_public_name_is_there() -> None:
    assert sorted(longclip.inputs.__all__) == dir(longclip.inputs)
    for name in longclip.inputs.__all__:
        assert getattr(longclip.inputs, name).__name__ == name
