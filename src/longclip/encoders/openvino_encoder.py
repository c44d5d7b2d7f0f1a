"""A model's ONNX files, computed by OpenVINO."""

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.model_settings import read_settings
from longclip.encoders.onnx_encoder import INPUTS, MASK, OnnxEncoder, chosen_output, damaged
from longclip.encoders.onnx_files import find_onnx_files
from longclip.spec import OnnxPrecision, Tower
from longclip.util.libraries import require_libraries


@functools.cache
def openvino_core() -> Any:
    """Return OpenVINO's core, one for the whole process.

    Made, its plugin for processors gives the thread another stack for signals, and gone it puts
    the former one back. Of two cores the first one's stack, freed with it, would come back with
    the end of the second, and the next signal (^C, a child that ends) would kill the process.
    """
    import openvino

    return openvino.Core()


class OpenVinoEncoder(OnnxEncoder):
    """As `OnnxEncoder`, of the same files."""

    library = "openvino"

    def _version(self) -> str:
        import openvino

        return str(openvino.__version__)

    def _open(self, tower: Tower, path: Path) -> Any:
        """Return a request, the names and kinds of its inputs, and the lock of its memory."""
        # Without being told it takes bfloat16 for float32 where the processor has that.
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = openvino_core().compile_model(str(path), "CPU", settings)
        except Exception as error:  # RuntimeError, with a page of C++
            raise damaged(path, self.library, error) from error
        # What goes in or comes out may have several names, of steps before it among them.
        given = {
            next(iter(one.names & {INPUTS[tower], MASK}), one.any_name): one.element_type.to_dtype()
            for one in compiled.inputs
        }
        names = [name for one in compiled.outputs for name in sorted(one.names)]
        output = chosen_output(path, tower, set(given), names)
        return compiled.create_infer_request(), given, output, threading.Lock()

    def _compute(self, tower: Tower, batch: NDArray[Any]) -> NDArray[Any]:
        request, given, output, lock = self._towers[tower]
        values = {name: batch if name == INPUTS[tower] else np.ones_like(batch) for name in given}
        feed = {name: value.astype(given[name], copy=False) for name, value in values.items()}
        with lock:
            request.infer(feed)
            # A copy, as the next request writes over it.
            return np.array(request.get_tensor(output).data)


def open_openvino(
    folder: Path, precision: OnnxPrecision | None = None, *, threads: int | None = None
) -> OpenVinoEncoder:
    """Open a directory, as `open_onnx`.

    Raises:
        UsageError: if openvino is not installed.
        EncoderError: as `open_onnx`.
        CheckpointError: as `open_onnx`.
    """
    require_libraries("openvino")
    # Files are opened when they are first used, maybe in another working directory.
    files = find_onnx_files(folder.absolute(), precision)
    return OpenVinoEncoder(str(folder), read_settings(folder), files, threads)
