import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lancedb")

from longclip.search.database.store import Store
from tests.helpers.image_folders import MODEL, photos, run_index


def test_a_folder_of_a_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, db = photos(tmp_path / "photos", 1), tmp_path / "db"
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        [bad] = run_index(folder, db=db).bad
    assert bad.reason.startswith("HEIC takes a plugin of Pillow: pip install pillow-heif")
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (60, 40), (200, 30, 30))).save(buffer)
    (folder / "phone.heic").write_bytes(buffer.getvalue())
    report = run_index(folder, db=db)
    assert (report.added, report.bad) == (1, ())
    [row] = Store.open(str(db)).rows("uri", [str(folder / "phone.heic")])
    assert (row.facts.format, row.facts.width, row.facts.height) == ("HEIF", 60, 40)
    expected = MODEL.encode_image(folder / "phone.heic", normalize=True)[0].detach().numpy()
    assert np.abs(row.vector - expected).max() < 2e-3
