"""Which numbers a device computes fast, and errors about devices."""

import pytest
import torch

from longclip.errors import UsageError
from longclip.util import hardware as _hardware


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        # Tiles of whole numbers do not help.
        ({"avx512_bf16": False, "amx_bf16": False, "amx_tile": True}, False),
        ({}, False),
    ],
)
def test_a_processor_is_asked_for_its_instructions(known, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert _hardware.has_fast_bfloat16("cpu") is expected
    assert _hardware.fast_dtype() is (torch.bfloat16 if expected else torch.float32)


def test_older_versions_of_torch_are_asked_otherwise(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not _hardware.has_fast_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert _hardware.has_fast_bfloat16("cpu")


def test_other_devices_compute_in_float32():
    assert not _hardware.has_fast_bfloat16("mps")
    assert not _hardware.has_fast_bfloat16(torch.device("meta"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_the_users_mistake():
    with (
        pytest.raises(UsageError, match=r"device 'cuda' cannot be used"),
        _hardware.moving_to("cuda"),
    ):
        torch.nn.Linear(1, 1).to("cuda")
