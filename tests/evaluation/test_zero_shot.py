import importlib.util
import math
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation import IMAGENET_TEMPLATES, top1_accuracy, zero_shot_classifier
from tests.helpers.encoders import EXACT_VECTORS, cosine, vector_of


def embed(texts):
    return torch.stack([vector_of(text) for text in texts]) * 3


def test_a_class_is_the_normalised_mean_of_its_normalised_prompts():
    names, templates = ["cat", "{} dog"], ["a photo of a {}.", "the {}."]
    classifier = zero_shot_classifier(embed, names, templates)
    for row, name in zip(classifier, names, strict=True):
        mean = torch.zeros_like(row)
        for template in templates:
            before, after = template.split("{}")
            vector = vector_of(before + name + after)
            mean += vector / vector.norm() / 2
        torch.testing.assert_close(row, mean / mean.norm())


def test_many_classes_are_embedded_in_several_calls():
    calls = []

    def counted(texts):
        calls.append(len(texts))
        return embed(texts)

    names = [f"class {i}" for i in range(120)]
    many = zero_shot_classifier(counted, names, IMAGENET_TEMPLATES)
    assert len(calls) > 1
    assert sum(calls) == 120 * 80
    torch.testing.assert_close(
        many[-1:], zero_shot_classifier(embed, names[-1:], IMAGENET_TEMPLATES)
    )


def test_the_templates_are_the_eighty_published_ones():
    assert len(IMAGENET_TEMPLATES) == len(set(IMAGENET_TEMPLATES)) == 80
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("open_clip is not installed")
    # Run the one file: importing open_clip itself would ask for torchvision.
    oracle = runpy.run_path(str(Path(package.origin).with_name("zero_shot_metadata.py")))
    theirs = [template("x") for template in oracle["OPENAI_IMAGENET_TEMPLATES"]]
    assert [ours.replace("{}", "x") for ours in IMAGENET_TEMPLATES] == theirs


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_accuracy_and_confusion_against_a_loop(data):
    classes = data.draw(st.lists(EXACT_VECTORS, min_size=1, max_size=4))
    images = data.draw(st.lists(EXACT_VECTORS, min_size=1, max_size=6))
    targets = data.draw(
        st.lists(st.integers(0, len(classes) - 1), min_size=len(images), max_size=len(images))
    )
    right = [0] * len(classes)
    for image, target in zip(images, targets, strict=True):
        scores = [cosine(image, row) for row in classes]
        rivals = scores[:target] + scores[target + 1 :]
        right[target] += all(scores[target] > rival for rival in rivals)
    result = top1_accuracy(
        torch.tensor(images).float(), torch.tensor(classes).float(), torch.tensor(targets)
    )
    assert result.correct_per_class == right
    assert result.images_per_class == [targets.count(c) for c in range(len(classes))]
    assert result.accuracy == pytest.approx(sum(right) / len(images))
    assert result.to_json()["top1"] == result.accuracy


def test_confusion_is_target_by_prediction():
    images = torch.tensor([[1.0, 0.1], [0.2, 1.0], [1.0, 0.0]])
    result = top1_accuracy(images, torch.eye(2), torch.tensor([0, 0, 1]))
    assert result.confusion.tolist() == [[1, 1], [1, 0]]
    assert result.targets.tolist() == [0, 0, 1]
    assert result.predictions.tolist() == [0, 1, 0]


def test_the_paper_procedure_step_by_step():
    """Eighty prompts a class, their mean brought to length one, the nearest class is the answer."""
    names = [f"thing {i}" for i in range(7)]
    images = torch.stack([vector_of(f"image {i}") for i in range(50)])
    targets = torch.arange(50) % 7
    weights = []
    for name in names:
        total = torch.zeros(16, dtype=torch.float64)
        for template in IMAGENET_TEMPLATES:
            prompt = vector_of(template.replace("{}", name)).double()
            total += prompt / math.sqrt(sum(x * x for x in prompt.tolist()))
        mean = total / 80
        weights.append((mean / mean.norm()).tolist())
    answers = []
    for image in images.tolist():
        scores = [cosine(image, weight) for weight in weights]
        answers.append(scores.index(max(scores)))
    classifier = zero_shot_classifier(embed, names, IMAGENET_TEMPLATES)
    torch.testing.assert_close(classifier.double(), torch.tensor(weights, dtype=torch.float64))
    result = top1_accuracy(images, classifier, targets)
    assert result.predictions.tolist() == answers
    hits = sum(answer == target for answer, target in zip(answers, targets.tolist(), strict=True))
    assert result.accuracy == hits / 50


def test_arrays_of_any_float_type_are_welcome():
    names, templates = ["cat", "dog"], ["a {}.", "the {}."]
    plain = zero_shot_classifier(embed, names, templates)
    array = zero_shot_classifier(lambda texts: embed(texts).double().numpy(), names, templates)
    half = zero_shot_classifier(lambda texts: embed(texts).bfloat16(), names, templates)
    torch.testing.assert_close(array, plain)
    torch.testing.assert_close(half, plain, atol=0.01, rtol=0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="exactly one"):
        zero_shot_classifier(embed, ["cat"], ["a photo"])
    with pytest.raises(ValueError, match="at least one class"):
        zero_shot_classifier(embed, [], ["a {}"])
    with pytest.raises(ValueError, match="outside the 2 classes"):
        top1_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="one class per image"):
        top1_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0]))
