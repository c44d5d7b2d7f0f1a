"""Opening of a database together with the model that it was made with."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from longclip.encoders.model_encoder import ModelEncoder
from longclip.encoders.numpy_encoder import find_numpy_encoder
from longclip.errors import CheckpointError, EncoderError, SearchError
from longclip.search.database.reader import Reader
from longclip.search.database.schema import About, check_same_model
from longclip.search.query.searcher import Searcher
from longclip.spec import Engine

if TYPE_CHECKING:
    from longclip.encoders.engines import AnyDtype


def open_searcher(
    place: str,
    model: str | None = None,
    *,
    engine: Engine = "auto",
    dtype: "AnyDtype" = "auto",
    device: str = "cpu",
    on_choice: Callable[[str], None] = lambda _: None,
) -> Searcher:
    """Open a database together with the model that it was made with.

    Args:
        place: a directory or a URL, see `Reader.open`.
        model: where that model is; what the database calls it by default.
        engine: what computes the model, see `longclip.encoders.engines.open_model`.
        dtype: of its numbers.
        device: where it runs.
        on_choice: called with what was chosen, see `open_model`.

    Raises:
        SearchError: if there is no database, or `model` is another one.
        CheckpointError: if the model cannot be opened.
        EncoderError: if the engine cannot compute it.
    """
    from longclip.encoders.engines import open_model

    store = Reader.open(place)

    def opened(name: str) -> ModelEncoder:
        return open_model(name, engine=engine, dtype=dtype, device=device, on_choice=on_choice)

    encoder = opened(model) if model else open_former(store.about.model, place, opened)
    check_same_model(store.about, About.of(encoder, model or store.about.model), place)
    return Searcher(store, encoder)


def open_searcher_without_torch(
    place: str, model: str | None = None, *, images: bool
) -> Searcher | None:
    """Open a database with its model computed by NumPy; None where that cannot read the model.

    Importing torch takes longer than all that a query of a few sentences is computed in.

    Args:
        place: as `open_searcher`.
        model: as `open_searcher`.
        images: whether a picture will be embedded.

    Raises:
        SearchError: if there is no database.
    """
    store = Reader.open(place)
    encoder = find_numpy_encoder(model or store.about.model, store.about.digest, images=images)
    return Searcher(store, encoder) if encoder else None


def open_former(name: str, place: str, opened: Callable[[str], ModelEncoder]) -> ModelEncoder:
    """Open the model that a database was made with, and nobody has named now.

    Raises:
        SearchError: if it cannot be opened; says how to name it.
    """
    try:
        return opened(name)
    except (CheckpointError, EncoderError) as error:
        raise SearchError(
            f"{place} was indexed with {name}, which cannot be opened here: {error}. "
            "Say with --model where it is"
        ) from error
