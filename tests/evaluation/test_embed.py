import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longclip.encoders.encoder import encoder_name
from longclip.errors import EncoderError, ImageError
from longclip.evaluation import embed
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_images, embed_texts, ranking_device
from tests.helpers.encoders import WIDTH, BagOfTokens, PaintedTexts, vector_of

PICTURES = st.lists(st.sampled_from(["a car", "a tree", "two boats", "an old house", None]))


@dataclass
class Kept(BagOfTokens):
    """A bag of tokens with an identity; it counts what it is asked, and may die."""

    fingerprint: str = "bag"
    calls_left: int = 1_000_000
    images_seen: list[bytes] = field(default_factory=list)

    def encode_text(self, texts, /):
        self._live()
        return super().encode_text(texts)

    def encode_image(self, images, /):
        self._live()
        found = super().encode_image(images)
        self.images_seen += [image.tobytes() for image in images]
        return found

    def _live(self):
        if not self.calls_left:
            raise KeyboardInterrupt
        self.calls_left -= 1


@dataclass(frozen=True)
class Counted(PaintedTexts):
    """Counts which pictures were decoded."""

    decoded: Counter = field(default_factory=Counter)

    def image(self, index):
        self.decoded[index] += 1
        return super().image(index)


def reference(pictures):
    """One picture after the other, and which of them are bad."""
    good = [i for i, picture in enumerate(pictures) if picture is not None]
    rows = BagOfTokens().encode_image([PaintedTexts(pictures).image(i) for i in good])
    return rows, tuple(good)


@given(
    pictures=PICTURES.map(tuple).filter(lambda pictures: any(pictures)),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 4),
    runs=st.integers(0, 2),
)
def test_images_do_not_depend_on_workers_batches_or_cache(
    pictures, batch_size, workers, runs, tmp_path_factory
):
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache")) if runs else None
    expected, good = reference(pictures)
    for run in range(runs + 1):
        encoder = Kept()
        found = embed_images(
            encoder,
            PaintedTexts(pictures),
            batch_size=batch_size,
            workers=workers,
            max_bad_fraction=1,
            cache=cache,
        )
        assert torch.equal(found.embeddings, expected)
        assert found.embeddings.dtype == torch.float32
        assert found.indices == good
        bad = sorted(set(range(len(pictures))) - set(good))
        assert [(b.index, b.reason) for b in found.bad] == [(i, f"{i}.png is broken") for i in bad]
        assert bool(encoder.images_seen) == (run == 0 or not cache)


@given(texts=st.lists(st.sampled_from("abcdefg"), min_size=1), size=st.integers(1, 5))
def test_texts_do_not_depend_on_batches_or_cache(texts, size, tmp_path_factory):
    expected = BagOfTokens().encode_text(texts)
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "_TEXTS_PER_CALL", size)
        for kept in (None, cache, cache, EmbeddingCache(cache.directory)):
            encoder = Kept()
            assert torch.equal(embed_texts(encoder, texts, cache=kept), expected)
            again = kept is not None and encoder.calls_left == 1_000_000
            assert encoder.texts_seen == ([] if again else list(dict.fromkeys(texts)))
    assert encoder.texts_seen == []


@given(stop=st.integers(0, 5), batch_size=st.integers(1, 4))
def test_what_was_embedded_before_a_kill_is_not_embedded_again(stop, batch_size, tmp_path_factory):
    pictures = tuple(f"house number {n}" for n in range(10))
    directory = tmp_path_factory.mktemp("cache")
    collection, first = Counted(pictures), Kept(calls_left=stop)

    def run(encoder, collection):
        return embed_images(
            encoder, collection, batch_size=batch_size, cache=EmbeddingCache(directory)
        )

    if stop < -(-10 // batch_size):
        with pytest.raises(KeyboardInterrupt):
            run(first, collection)
    else:
        run(first, collection)
    done = min(stop * batch_size, 10)
    assert len(first.images_seen) == done

    collection, second = Counted(pictures), Kept()
    found = run(second, collection)
    assert torch.equal(found.embeddings, reference(pictures)[0])
    assert len(second.images_seen) == 10 - done
    assert set(collection.decoded) == set(range(done, 10))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "_TEXTS_PER_CALL", batch_size)
        first, second = Kept(calls_left=stop), Kept()
        if stop < -(-10 // batch_size):
            with pytest.raises(KeyboardInterrupt):
                embed_texts(first, pictures, cache=EmbeddingCache(directory))
        else:
            embed_texts(first, pictures, cache=EmbeddingCache(directory))
        embed_texts(second, pictures, cache=EmbeddingCache(directory))
    assert [*first.texts_seen, *second.texts_seen] == list(pictures)


def test_pictures_and_texts_of_other_encoders_and_collections_are_told_apart(tmp_path):
    cache = EmbeddingCache(tmp_path)
    embed_images(Kept(), PaintedTexts(("a", "b", "c")), cache=cache)
    shared = Kept()
    found = embed_images(shared, PaintedTexts(("d", "c", "a")), cache=cache)
    assert len(shared.images_seen) == 1
    assert torch.equal(found.embeddings, reference(("d", "c", "a"))[0])

    other = Kept(fingerprint="other")
    embed_images(other, PaintedTexts(("a", "b", "c")), cache=cache)
    assert len(other.images_seen) == 3
    # A picture's key may be the very text that is embedded elsewhere.
    text = Kept()
    embed_texts(text, ["a"], cache=cache)
    assert text.texts_seen == ["a"]


def test_an_encoder_without_identity_is_not_cached(tmp_path):
    cache = EmbeddingCache(tmp_path)
    embed_images(BagOfTokens(), PaintedTexts(("a",)), cache=cache)
    embed_texts(BagOfTokens(), ["a"], cache=cache)
    embed_texts(Kept(fingerprint=""), ["a"], cache=cache)
    assert not list(tmp_path.rglob("*.embeddings"))


class Late(Exception):
    pass


def test_decoding_is_parallel_bounded_and_ends_with_the_encoder():
    together, most_ahead, done = threading.Barrier(3, timeout=20), 0, 0
    decoded = []

    class Slow(PaintedTexts):
        def image(self, index):
            nonlocal most_ahead
            if index < 3:
                together.wait()  # passed only if three threads are in here at once
            decoded.append(index)
            most_ahead = max(most_ahead, len(decoded) - done)
            return super().image(index)

    class Counting(BagOfTokens):
        def encode_image(self, images, /):
            nonlocal done
            time.sleep(0.02)
            done += len(images)
            if done > 20:
                raise Late
            return super().encode_image(images)

    with pytest.raises(Late):
        embed_images(Counting(), Slow(("a",) * 1000), batch_size=4, workers=3)
    assert most_ahead <= 4 + 4 + 3
    assert len(decoded) < 40
    assert not [t for t in threading.enumerate() if t.name.startswith("longclip-decode")]


def test_pictures_are_prepared_where_they_are_decoded():
    main, threads = threading.current_thread(), []

    class Preparing(BagOfTokens):
        def prepare(self, image):
            threads.append(threading.current_thread())
            if image.size == (2, 1):
                raise ImageError("too narrow")
            return image.transpose(Image.Transpose.ROTATE_180)

        def encode_image(self, images, /):
            return torch.stack([vector_of(image.tobytes()) for image in images])

    collection = PaintedTexts(("a red car", "two boats", "an old house"))
    found = embed_images(Preparing(), collection, max_bad_fraction=0.5)
    assert [bad.reason for bad in found.bad] == ["too narrow"]
    assert main not in threads
    turned = [collection.image(i).transpose(Image.Transpose.ROTATE_180) for i in (0, 2)]
    assert torch.equal(found.embeddings, torch.stack([vector_of(t.tobytes()) for t in turned]))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.double(),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.numpy(),
        lambda x: x.double().numpy(),
        lambda x: x.numpy().astype(">f4"),
        lambda x: np.asfortranarray(x.numpy()),
        lambda x: x.repeat(1, 2)[:, :WIDTH],
        pytest.param(lambda x: x.numpy().astype(np.longdouble), id="longdouble"),
    ],
)
def test_rows_of_any_floating_type_become_float32(form):
    class Formed(BagOfTokens):
        def encode_text(self, texts, /):
            return form(super().encode_text(texts))

        def encode_image(self, images, /):
            return form(super().encode_image(images))

    texts = embed_texts(Formed(), ["a", "b", "a"])
    images = embed_images(Formed(), PaintedTexts(("a", "b", "a"))).embeddings
    for found in (texts, images):
        assert type(found) is torch.Tensor
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        assert torch.equal(found, BagOfTokens().encode_text(["a", "b", "a"]))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_as_it_is(half):
    class Half(BagOfTokens):
        def encode_text(self, texts, /):
            return super().encode_text(texts).to(half)

    expected = BagOfTokens().encode_text(["a"]).to(half).float()
    assert torch.equal(embed_texts(Half(), ["a"]), expected)


def test_unusable_rows_are_named():
    class Bad(BagOfTokens):
        name = "my model"
        rows = None

        def encode_text(self, texts, /):
            return self.rows(super().encode_text(texts))

        encode_image = encode_text

    bad = Bad()
    bad.rows = lambda x: torch.where(torch.arange(len(x))[:, None] == 2, torch.nan, x)
    with pytest.raises(EncoderError, match=r"my model: .*text 'c c'.*not finite \(row 2, one of 1"):
        embed_texts(bad, ["a", "b", "c c"])
    bad.encode_image = lambda images: torch.tensor([[1.0], [torch.inf]])
    with pytest.raises(EncoderError, match=r"my model: .*image 2 of painted/test is not finite"):
        embed_images(bad, PaintedTexts(("a", None, "b")), max_bad_fraction=1)
    for rows in (
        lambda x: x[:1],
        lambda x: x[0],
        lambda x: x.int(),
        lambda x: x.int().numpy(),
        lambda x: x[..., None],
    ):
        bad.rows = rows
        with pytest.raises(EncoderError, match=r"my model gives .* for 3 inputs; .*\[3, D\]"):
            embed_texts(bad, ["a", "b", "c"])


def test_two_towers_without_a_joint_space_are_told_at_once():
    encoder = BagOfTokens()
    assert embed_texts(encoder, ["a"], width=WIDTH).shape == (1, WIDTH)
    with pytest.raises(EncoderError, match=f"BagOfTokens gives texts {WIDTH} numbers and images 5"):
        embed_texts(encoder, ["a"] * 5000, width=5)


def test_no_texts_are_a_mistake():
    with pytest.raises(ValueError, match="no texts"):
        embed_texts(BagOfTokens(), [])


def test_names_and_devices():
    assert encoder_name(BagOfTokens()) == "BagOfTokens"
    encoder = BagOfTokens()
    assert ranking_device(encoder) == torch.device("cpu")
    for device, expected in (("cuda:1", "cuda:1"), (torch.device("mps"), "cpu")):
        encoder.device = device
        assert ranking_device(encoder) == torch.device(expected)


def test_progress_counts_different_texts():
    calls = []
    embed_texts(
        BagOfTokens(), ["a", "b", "a"], stage="s", on_progress=lambda *call: calls.append(call)
    )
    assert calls == [("s", 0, 2), ("s", 2, 2)]
