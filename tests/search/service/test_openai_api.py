"""OpenAI's own client against a real server."""

import asyncio
import base64
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from pydantic import ValidationError

import longclip
from longclip.model import CLIP
from longclip.search.database.schema import About
from longclip.search.database.store import Store
from longclip.search.query.searcher import Searcher
from longclip.search.service.openai_api import EmbeddingsRequest
from longclip.search.service.service import public_name
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.service import Served, data_url, encoded, picture, serving

openai = pytest.importorskip("openai")

TEXTS = ["a red square", "a lighthouse at dusk, seen from the sea", "boats"]


@pytest.fixture
def client(served: Served) -> "openai.OpenAI":
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none is asked for", max_retries=0)


def embedded(answer: "openai.types.CreateEmbeddingResponse") -> np.ndarray:
    return np.array([one.embedding for one in answer.data], np.float32)


@pytest.fixture
def expected(nano: CLIP) -> np.ndarray:
    return nano.encode_text(TEXTS, normalize=True).numpy()


def test_texts(client: "openai.OpenAI", expected: np.ndarray) -> None:
    answer = client.embeddings.create(model="nano", input=TEXTS)
    np.testing.assert_allclose(embedded(answer), expected, atol=1e-5)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert (answer.object, answer.model) == ("list", "nano")
    tokens = sum(map(len, clip_tokenizer().encode(TEXTS)))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_one_text_and_both_encodings(client: "openai.OpenAI", expected: np.ndarray) -> None:
    floats = client.embeddings.create(model="nano", input=TEXTS[1], encoding_format="float")
    packed = client.embeddings.create(model="nano", input=TEXTS[1], encoding_format="base64")
    unpacked = np.frombuffer(base64.b64decode(str(packed.data[0].embedding)), "<f4")
    np.testing.assert_allclose(embedded(floats)[0], expected[1], atol=1e-5)
    np.testing.assert_allclose(unpacked, expected[1], atol=1e-5)


def test_tokens_with_and_without_begin_and_end(
    client: "openai.OpenAI", expected: np.ndarray
) -> None:
    ids = clip_tokenizer().encode(TEXTS)
    whole = client.embeddings.create(model="nano", input=ids)
    bare = client.embeddings.create(model="nano", input=[one[1:-1] for one in ids])
    padded = client.embeddings.create(model="nano", input=longclip.tokenize(TEXTS).tolist())
    one = client.embeddings.create(model="nano", input=ids[2])
    assert padded.usage == whole.usage
    np.testing.assert_allclose(embedded(padded), expected, atol=1e-5)
    np.testing.assert_allclose(embedded(whole), expected, atol=1e-5)
    np.testing.assert_allclose(embedded(bare), expected, atol=1e-5)
    np.testing.assert_allclose(embedded(one)[0], expected[2], atol=1e-5)


def test_dimensions_are_the_first_ones_of_length_one(
    client: "openai.OpenAI", expected: np.ndarray
) -> None:
    answer = embedded(client.embeddings.create(model="nano", input=TEXTS, dimensions=16))
    part = expected[:, :16]
    np.testing.assert_allclose(
        answer, part / np.linalg.norm(part, axis=1, keepdims=True), atol=1e-5
    )


def test_images_among_texts(client: "openai.OpenAI", nano: CLIP, expected: np.ndarray) -> None:
    answer = client.embeddings.create(
        model="nano", input=[TEXTS[0], data_url(picture(4)), TEXTS[1]]
    )
    image = nano.encode_image(picture(4), normalize=True).numpy()[0]
    found = embedded(answer)
    np.testing.assert_allclose(found[[0, 2]], expected[:2], atol=1e-5)
    np.testing.assert_allclose(found[1], image, atol=1e-5)
    assert answer.usage.prompt_tokens == sum(map(len, clip_tokenizer().encode(TEXTS[:2])))


@pytest.mark.parametrize(
    ("request_", "message", "param"),
    [
        ({"input": ""}, "empty text", "input"),
        ({"input": []}, "input: it is an empty list; send a text", "input"),
        ({"input": 5}, "input: it is 5; send a text", "input"),
        ({"input": {}}, "input: it is an object; send a text", "input"),
        ({"input": [None]}, "input: the first of its list is null; send a text", "input"),
        ({"input": [True]}, "input: the first of its list is true; send a text", "input"),
        (
            {"input": ["a", 3]},
            "input: number 1 of its list is 3, and before stands a text;",
            "input",
        ),
        (
            {"input": [3, True]},
            "input: number 1 of its list is true, and before stands 3;",
            "input",
        ),
        ({"input": [[3], [False]]}, "number 1 of its list holds false; token ids are", "input"),
        ({"input": [[3], [4, "a"]]}, "number 1 of its list holds a text; token ids are", "input"),
        ({"input": "data:;base64,/9j/4AAQ"}, "damaged or cut off", None),
        ({"input": "data:text/plain;charset=utf-8,a"}, "input: send the image itself", "input"),
        ({"input": "data:image/png"}, "input: send the image itself", "input"),
        ({"input": ["a " * 9999] * 101}, "2,019,798 characters together; send 2,0", "input"),
        ({"input": "a", "dimensions": True}, "dimensions", "dimensions"),
        ({"input": ["a", ""]}, "input[1] is an empty text", "input[1]"),
        (
            {"input": [[5], []]},
            "input[1]: there is no token; token ids are those of CLIP",
            "input[1]",
        ),
        ({"input": [49406, 49407, 49407]}, "input: there is no token", "input"),
        ({"input": [5, 100_000]}, "check_embedding_ctx_length=False", "input"),
        (
            {"input": [[5], [5, 6, 49408]]},
            "input[1]: token id 49408 at position 2 is not in this model's vocabulary of 49408 ids",
            "input[1]",
        ),
        ({"input": [-1]}, "token id -1 at position 0 is not in", "input"),
        ({"input": [5, 49407, 5]}, "token id 49407 marks a text's begin or end", "input"),
        ({"input": [5, 49407, 0]}, "token id 49407 marks a text's begin or end", "input"),
        ({"input": "boat " * 76}, "78 tokens, this model's maximum context length is 77", "input"),
        ({"input": ["a"] * 2049}, "at most 2048 items", None),
        ({"input": [[5]] * 2049}, "at most 2048 items", None),
        ({"input": [5] * 4097}, "at most 4096 items", None),
        ({"input": [[5], [5] * 4097]}, "at most 4096 items", None),
        ({"input": ["a", "b" * 20_001]}, "has 20,001 characters; a text may have", "input[1]"),
        ({"input": "a", "dimensions": 10_000}, "dimensions", "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions", "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "encoding_format"),
        ({"input": "data:image/png;base64,AAAA"}, "not an image", None),
    ],
)
def test_what_cannot_be_embedded(
    client: "openai.OpenAI", request_: dict[str, object], message: str, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="nano", **request_)  # type: ignore[arg-type]
    assert message in caught.value.message
    assert caught.value.type == "invalid_request_error"
    if param:
        assert caught.value.param == param


@pytest.mark.parametrize("head", ["data:;base64,", "DATA:IMAGE/JPEG;BASE64,", "data:x/y;base64,"])
def test_a_data_url_is_its_image_whatever_it_is_called(
    client: "openai.OpenAI", nano: CLIP, head: str
) -> None:
    lines = base64.encodebytes(encoded(picture(4), "PNG")).decode()
    assert lines.count("\n") > 1
    answer = client.embeddings.create(model="nano", input=head + lines)
    image = nano.encode_image(picture(4), normalize=True).numpy()
    np.testing.assert_allclose(embedded(answer), image, atol=1e-5)


def test_a_text_that_begins_with_data_is_a_text(client: "openai.OpenAI", nano: CLIP) -> None:
    text = "data: a chart, with words"
    answer = client.embeddings.create(model="nano", input=text)
    expected = nano.encode_text([text], normalize=True).numpy()
    np.testing.assert_allclose(embedded(answer), expected, atol=1e-5)


def test_null_is_what_was_not_sent(served: Served) -> None:
    """LiteLLM sends a null where nobody has chosen a format."""
    request = {"model": "nano", "input": "a", "encoding_format": None, "dimensions": None}
    answer = served.client().post("/v1/embeddings", json=request | {"user": None})
    assert answer.status_code == 200
    assert isinstance(answer.json()["data"][0]["embedding"], list)


def test_one_model_by_its_name(client: "openai.OpenAI", served: Served) -> None:
    assert client.models.retrieve("nano").id == "nano"
    with pytest.raises(openai.NotFoundError, match="this service has 'nano'"):
        client.models.retrieve("org/other")
    assert served.client().get("/v1/models/").status_code == 404


def test_another_model_is_not_found(client: "openai.OpenAI") -> None:
    with pytest.raises(openai.NotFoundError, match="this service has 'nano'") as caught:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert caught.value.code == "model_not_found"


def test_the_models_are_the_one_that_is_served(client: "openai.OpenAI") -> None:
    [model] = client.models.list()
    assert (model.id, model.object, model.owned_by) == ("nano", "model", "longclip")
    assert abs(time.time() - model.created) < 24 * 3600
    assert client.embeddings.create(model=model.id, input=TEXTS[0]).model == model.id


def test_clients_are_not_told_where_the_model_lies(nano: CLIP, tmp_path: Path) -> None:
    place = "/home/me/runs/nano-248"
    store = Store.create(str(tmp_path / "db"), About.of(nano, place))
    with serving(Searcher(store, nano)) as served:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0)
        [model] = client.models.list()
        assert model.id == "nano-248"
        assert served.client().get("/v1/about").json()["model"] == "nano-248"
        for name in ("nano-248", place):
            assert client.embeddings.create(model=name, input="a").model == "nano-248"
        with pytest.raises(openai.NotFoundError, match="this service has 'nano-248'") as caught:
            client.embeddings.create(model="runs/nano-248", input="a")
        assert "/home" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("nano", "nano"),
        ("BeichenZhang/LongCLIP-L", "BeichenZhang/LongCLIP-L"),
        ("org/pipeline/text_encoder_2", "org/pipeline/text_encoder_2"),
        ("/home/me/longclip-L.pt", "longclip-L.pt"),
        ("/home/me/runs/nano-248/", "nano-248"),
        ("./runs/a", "a"),
        ("../a", "a"),
        ("/", "/"),
    ],
)
def test_public_names(model: str, name: str) -> None:
    assert public_name(model) == name


def test_a_directory_here_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("runs/a") == "a"


def test_many_concurrent_clients_get_what_each_would_get_alone(served: Served, nano: CLIP) -> None:
    """Nothing that was accepted is lost, and batches shared with others change nothing."""
    rng = np.random.default_rng(0)
    words = ["boat", "red", "dusk", "lighthouse", "square", "two", "people", "walking", "&"]
    requests = [
        [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(rng.integers(1, 6))]
        for _ in range(100)
    ]

    async def all_at_once() -> list[np.ndarray]:
        places = asyncio.Semaphore(100)  # as many as are served at a time, and some
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key="x", max_retries=0
        ) as client:

            async def ask(texts: list[str]) -> np.ndarray:
                async with places:
                    return embedded(await client.embeddings.create(model="nano", input=texts))

            return list(await asyncio.gather(*map(ask, requests)))

    answers = asyncio.run(all_at_once())
    for texts, answer in zip(requests, answers, strict=True):
        alone = nano.encode_text(texts, normalize=True).numpy()
        np.testing.assert_allclose(answer, alone, atol=2e-5)


def test_batches_are_shared(served: Served) -> None:
    text = httpx2.get(f"{served.url}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["longclip_batch_items_sum"]) > float(values["longclip_batch_items_count"])


@pytest.mark.parametrize("wrong", ["x", 1.5, {}, [{}]])
def test_of_many_wrong_inputs_only_the_first_is_an_error(wrong: object) -> None:
    with pytest.raises(ValidationError) as caught:
        EmbeddingsRequest.model_validate({"model": "nano", "input": [wrong] * 100_000})
    assert caught.value.error_count() < 10


def test_names_of_models_have_an_end(served: Served) -> None:
    answer = served.client().post("/v1/embeddings", json={"model": "x" * 1001, "input": "a"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"
    assert len(answer.content) < 1000
