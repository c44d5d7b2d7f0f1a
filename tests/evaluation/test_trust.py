"""Our numbers beside those of clip_benchmark, from the same embeddings."""

import importlib.util
from pathlib import Path

import pytest
import torch

from longclip.evaluation import (
    IMAGENET_TEMPLATES,
    retrieval_recall,
    top1_accuracy,
    zero_shot_classifier,
)


def clip_benchmark(metric):
    """One module of clip_benchmark.metrics, run by itself: the package asks for torchvision."""
    package = importlib.util.find_spec("clip_benchmark")
    if package is None or package.origin is None:
        pytest.skip("clip_benchmark is not installed: pip install --no-deps clip_benchmark")
    path = Path(package.origin).parent / "metrics" / f"{metric}.py"
    spec = importlib.util.spec_from_file_location(f"clip_benchmark_{metric}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Identity:
    """What comes in is the embedding already."""

    def encode_image(self, images):
        return images

    def encode_text(self, texts):
        return texts


@pytest.mark.parametrize(
    ("images", "texts_per_image", "seed"), [(60, 5, 0), (300, 1, 1), (90, 3, 2)]
)
def test_retrieval_recall_is_clip_benchmarks(images, texts_per_image, seed):
    generator = torch.Generator().manual_seed(seed)
    owners = torch.arange(images).repeat_interleave(texts_per_image)
    image_rows = torch.randn(images, 32, generator=generator)
    text_rows = image_rows[owners] + 1.5 * torch.randn(len(owners), 32, generator=generator)
    texts = text_rows.view(images, texts_per_image, -1)
    batches = [(image_rows[i : i + 16], list(texts[i : i + 16])) for i in range(0, images, 16)]
    theirs = clip_benchmark("zeroshot_retrieval").evaluate(
        Identity(), batches, torch.stack, "cpu", amp=False, recall_k_list=[1, 5, 10]
    )
    ours = retrieval_recall(image_rows, text_rows, owners, ks=(1, 5, 10))
    for k in (1, 5, 10):
        assert ours.text_to_image[k] == pytest.approx(theirs[f"image_retrieval_recall@{k}"])
        assert ours.image_to_text[k] == pytest.approx(theirs[f"text_retrieval_recall@{k}"])
    assert 0.05 < ours.text_to_image[1] < 0.95


def test_zero_shot_accuracy_is_clip_benchmarks():
    generator = torch.Generator().manual_seed(0)
    names = [f"class {c}" for c in range(12)]
    prompts = [t.replace("{}", name) for name in names for t in IMAGENET_TEMPLATES]
    table = torch.randn(len(names), 1, 32, generator=generator)
    table = table + torch.randn(len(names), len(IMAGENET_TEMPLATES), 32, generator=generator)
    embedding_of = dict(zip(prompts, table.flatten(0, 1), strict=True))

    def embed(texts):
        return torch.stack([embedding_of[text] for text in texts])

    targets = torch.arange(200) % len(names)
    images = table.mean(1)[targets] + 4 * torch.randn(200, 32, generator=generator)
    batches = [(images[i : i + 64], targets[i : i + 64]) for i in range(0, 200, 64)]
    module = clip_benchmark("zeroshot_classification")
    templates = [template.replace("{}", "{c}") for template in IMAGENET_TEMPLATES]
    weights = module.zero_shot_classifier(Identity(), embed, names, templates, "cpu", amp=False)
    # Its `accuracy` makes a float of an array, which NumPy 2.4 refuses; the logits are its own.
    logits, _ = module.run_classification(Identity(), weights, batches, "cpu", amp=False)
    theirs = logits.argmax(1)

    classifier = zero_shot_classifier(embed, names, IMAGENET_TEMPLATES)
    torch.testing.assert_close(classifier, weights.T)
    ours = top1_accuracy(images, classifier, targets)
    assert torch.equal(ours.predictions, theirs)
    assert ours.accuracy == pytest.approx((theirs == targets).double().mean().item())
    assert 0.2 < ours.accuracy < 0.95
