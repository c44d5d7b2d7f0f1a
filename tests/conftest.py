"""Settings for all tests."""

import os
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: several processes with all threads each stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure: tests have no clocks. Every run tries the same examples, so that who
# broke nothing sees no failure; `make test-all` tries new ones, and more of them.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("LONGCLIP_EXAMPLES", "same"))

# `datasets` copies every table it opens; these copies need not outlive the tests.
_CACHE = tempfile.TemporaryDirectory(prefix="longclip-tests-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name
# Neither are embeddings kept, nor found from an earlier run.
os.environ["XDG_CACHE_HOME"] = _CACHE.name

_TAKE_A_MINUTE = {
    "test_cluster.py",
    "test_demo.py",
    "test_distributed.py",
    "test_hub.py",
    "test_index_faults.py",
    "test_process.py",
    "test_resume.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker ends with one of them while others wait."""
    items.sort(key=lambda item: item.path.name not in _TAKE_A_MINUTE)


_OF_EXTRAS = ("datasets", "lancedb", "pyarrow", "transformers", "uvicorn")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip a test that needs an extra which is not installed; see `make test-lowest`."""
    try:
        return (yield)
    except (Exception, pytest.fail.Exception) as error:
        if all(map(find_spec, _OF_EXTRAS)):
            raise
        asks = f"{error.__context__!r} {error!r}"
        if re.search(r"""pip install \W*longclip\[""", asks):
            pytest.skip("it needs an extra")
        if isinstance(error, ModuleNotFoundError) and (error.name or "") in _OF_EXTRAS:
            pytest.skip(f"it needs {error.name}")
        raise


pytest_runtest_setup = pytest_runtest_call


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small CLIP of the tests as ONNX files of float32."""
    for library in ("onnx", "onnxruntime", "onnxscript", "openvino"):
        pytest.importorskip(library)
    from tests.helpers.models import small_clip
    from tests.helpers.onnx_models import write_onnx_model

    folder = tmp_path_factory.mktemp("onnx") / "model"
    return write_onnx_model(small_clip(), folder)


@pytest.fixture(scope="session")
def int8_model(onnx_model: Path) -> Path:
    """The same in 8 bit."""
    from tests.helpers.onnx_models import with_int8

    return with_int8(onnx_model, onnx_model.parent / "int8")
