"""A model's ONNX files, computed by onnxruntime."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip import __version__
from longclip.encoders.model_encoder import Vectors
from longclip.encoders.model_settings import ModelSettings, read_settings
from longclip.encoders.onnx_files import OnnxFiles, find_onnx_files
from longclip.encoders.runtime_encoder import RuntimeEncoder
from longclip.errors import EncoderError
from longclip.spec import OnnxPrecision, Tower
from longclip.util.digest import Digest
from longclip.util.libraries import require_libraries
from longclip.util.threads import processors

INPUTS: dict[Tower, str] = {"text": "input_ids", "image": "pixel_values"}
OUTPUTS: dict[Tower, str] = {"text": "text_embeds", "image": "image_embeds"}
POOLED = "pooler_output"
"""What transformers calls the embeddings of a SigLIP, which has no projections."""
MASK = "attention_mask"
"""An input of some exports; a token sees none behind it anyway, so that all may be seen."""

_NUMBERS = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


class OnnxEncoder(RuntimeEncoder):
    """A directory as `longclip convert --to onnx` writes it, or transformers.js reads it.

    Args:
        name: what it was opened from.
        settings: what the files beside say.
        files: of the towers, each of which is opened when it is first used.
        threads: of one embedding.
    """

    library = "onnxruntime"

    def __init__(
        self, name: str, settings: ModelSettings, files: OnnxFiles, threads: int | None = None
    ) -> None:
        super().__init__(name, settings)
        self.files = files
        self.threads = threads or processors()
        self._forget_towers()

    def _forget_towers(self) -> None:
        self._towers: dict[Tower, Any] = {}
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Workers of a cluster open the files again.
        return {**vars(self), "_towers": None, "_opening": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget_towers()

    @property
    def engine(self) -> str:
        """Library and precision."""
        return f"{self.library}, {self.files.precision}"

    @property
    def digest(self) -> str:
        """Hash of the model that the files were made from, in whatever precision."""
        return self.files.digest

    @property
    def fingerprint(self) -> str:
        """Hash of the files, the settings and the library."""
        whole = Digest()
        whole.add(__version__, self.engine, self._version(), self.files.content)
        whole.add(repr(self.config), repr(self.preprocess))
        own = self.settings.tokenizer_files
        whole.add(own.tokenizer.digest if own else "")
        return whole.hexdigest()

    def run_text(self, ids: NDArray[np.int64]) -> Vectors:
        """Embed ids [B, L]."""
        return self._run("text", ids)

    def run_images(self, pixels: Vectors) -> Vectors:
        """Embed normalised pixels [B, 3, H, W]."""
        return self._run("image", pixels)

    def _run(self, tower: Tower, batch: NDArray[Any]) -> Vectors:
        with self._opening:
            if tower not in self._towers:
                self._towers[tower] = self._open(tower, self.files.paths[tower])
        path = self.files.paths[tower]
        try:
            rows = self._compute(tower, batch)
        except Exception as error:  # each library raises kinds of its own
            raise EncoderError(
                f"{path} cannot embed {list(batch.shape)}: {_reason(error)}; export the model "
                "again with any batch size and length (longclip convert … --to onnx)"
            ) from error
        if rows.shape != (len(batch), self.embedding_dim):
            raise EncoderError(
                f"{path} gives {list(rows.shape)} for {len(batch)} inputs, and config.json says "
                f"{self.embedding_dim} numbers each; put the files of one model together"
            )
        return rows.astype(np.float32)

    def _version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def _open(self, tower: Tower, path: Path) -> Any:
        """Return a session and the names and kinds of its inputs."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own kinds of error, which are no public names
            raise damaged(path, self.library, error) from error
        given = {one.name: _NUMBERS.get(one.type) for one in session.get_inputs()}
        output = chosen_output(path, tower, set(given), [o.name for o in session.get_outputs()])
        return session, given, output

    def _compute(self, tower: Tower, batch: NDArray[Any]) -> NDArray[Any]:
        session, given, output = self._towers[tower]
        values = {name: batch if name == INPUTS[tower] else np.ones_like(batch) for name in given}
        feed = {name: value.astype(given[name], copy=False) for name, value in values.items()}
        rows: NDArray[Any] = session.run([output], feed)[0]
        return rows


def open_onnx(
    folder: Path, precision: OnnxPrecision | None = None, *, threads: int | None = None
) -> OnnxEncoder:
    """Open a directory.

    Args:
        folder: see `OnnxEncoder`.
        precision: of the files; float32 where there are such, else what there is.
        threads: of one embedding; one per processor by default.

    Raises:
        UsageError: if onnxruntime is not installed.
        EncoderError: if there are no such files, or what is there cannot be used.
        CheckpointError: if the files beside them are missing or broken.
    """
    require_libraries("onnx")
    # Files are opened when they are first used, maybe in another working directory.
    files = find_onnx_files(folder.absolute(), precision)
    return OnnxEncoder(str(folder), read_settings(folder), files, threads)


def chosen_output(path: Path, tower: Tower, inputs: set[str], outputs: list[str]) -> str:
    """Return the name of the output with the embeddings.

    Raises:
        EncoderError: if there is none, or there are inputs that are not known here.
    """
    unknown = inputs - {INPUTS[tower], MASK}
    wanted = [name for name in (OUTPUTS[tower], POOLED) if name in outputs]
    if unknown or INPUTS[tower] not in inputs or not wanted:
        raise EncoderError(
            f"{path} has the inputs {', '.join(sorted(inputs))} and the outputs "
            f"{', '.join(outputs)}; a tower here takes {INPUTS[tower]} and gives {OUTPUTS[tower]}, "
            "as longclip convert … --to onnx writes it"
        )
    return wanted[0]


def damaged(path: Path, library: str, error: Exception) -> EncoderError:
    """Return the error of a file that a library cannot open."""
    return EncoderError(
        f"{path} cannot be opened by {library}: {_reason(error)}; fetch or export it again "
        "(longclip convert … --to onnx)"
    )


def _reason(error: Exception) -> str:
    """Return what a library says, without the places in its source with which OpenVINO begins."""
    lines = (line.strip() for line in str(error).splitlines())
    said = (line for line in lines if line and not line.startswith(("Exception from ", "Check '")))
    return ": ".join(said)[:300] or type(error).__name__
