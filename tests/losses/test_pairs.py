"""Which text belongs to which image."""

import pytest
import torch

from longclip.losses.pairs import own_image, own_texts, texts_per_image


def test_own_rows_name_each_other() -> None:
    device = torch.device("cpu")
    texts, images = own_texts(4, 3, device), own_image(4, 3, device)
    assert texts.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert images.flatten().tolist() == [j // 3 for j in range(12)]


@pytest.mark.parametrize(("images", "texts", "k"), [(3, 3, 1), (3, 6, 2), (1, 5, 5)])
def test_texts_per_image(images: int, texts: int, k: int) -> None:
    assert texts_per_image(torch.zeros(images, 2), torch.zeros(texts, 2)) == k


@pytest.mark.parametrize(
    ("images", "texts"), [((3, 2), (4, 2)), ((3, 2), (2, 2)), ((3, 2), (3, 4)), ((0, 2), (0, 2))]
)
def test_anything_else_is_refused(images: tuple[int, int], texts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"pairs.*\[B·K, D\]"):
        texts_per_image(torch.zeros(images), torch.zeros(texts))
