"""Images changed by chance: what stays exact, what is repeatable, what is refused."""

import numpy as np
import pytest

import kasoku
from kasoku.augmentation import Augmentation
from kasoku.networks import SimpleConvNet, TwoLayerNet


@pytest.fixture
def images(rng):
    return rng.random((6, 2, 9, 8))


def test_nothing_asked_for_changes_nothing(images):
    for x in (images, images.astype(np.float32), images[:, :, ::-1], np.asfortranarray(images)):
        y = Augmentation(seed=1)(x)
        np.testing.assert_array_equal(y, x)
        assert y.dtype == x.dtype
    bytes_ = (255 * images).astype(np.uint8)
    y = Augmentation(seed=1)(bytes_)
    np.testing.assert_array_equal(y, bytes_)
    assert y.dtype == np.float64


def test_flips_and_crops_keep_the_numbers(images):
    flipped = Augmentation(flip=True, seed=1)(images)
    same = [np.array_equal(y, x) for y, x in zip(flipped, images, strict=True)]
    mirrored = [np.array_equal(y, x[:, :, ::-1]) for y, x in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    cropped = Augmentation(crop=(5, 4), seed=1)(images)
    assert cropped.shape == (6, 2, 5, 4)
    for y, x in zip(cropped, images, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 4), axis=(1, 2))
        found = (windows == y[:, None, None]).all(axis=(0, 3, 4))
        assert found.sum() == 1
    assert Augmentation(crop=3, seed=1)(images).shape == (6, 2, 3, 3)


def test_chance_is_repeatable(images):
    augment, again = (Augmentation(2, 20, 0.2, seed=4) for _ in range(2))
    first, second = augment(images), augment(images)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(again(images), first)
    np.testing.assert_array_equal(again(images), second)
    threads = kasoku.kernels.num_threads()
    try:
        for count in (1, 2, 5):
            kasoku.kernels.set_num_threads(count)
            np.testing.assert_array_equal(Augmentation(2, 20, 0.2, seed=4)(images), first)
    finally:
        kasoku.kernels.set_num_threads(threads)
    np.random.seed(3)
    seed = Augmentation().seed
    np.random.seed(3)
    assert Augmentation().seed == seed
    assert "rotation=20" in repr(augment)


def test_what_leaves_the_image_is_gone_and_zeros_come_in():
    x = np.ones((40, 1, 6, 6))
    y = Augmentation(shift=30, seed=1)(x)
    assert y.min() >= 0
    assert y.max() <= 1 + 1e-12
    assert (y.sum(axis=(1, 2, 3)) == 0).any()


def test_what_is_refused(images):
    for options, text in (
        ({"shift": -1}, "shift"),
        ({"rotation": np.inf}, "rotation"),
        ({"scale": 1.0}, "scale"),
        ({"crop": (10, 4)}, "crop"),
        ({"crop": 0}, "crop"),
    ):
        with pytest.raises(ValueError, match=text):
            Augmentation(**options)(images)
    with pytest.raises(ValueError, match="4 dimensions"):
        Augmentation()(images[0])
    with pytest.raises(TypeError):
        Augmentation()(images + 1j)


@pytest.mark.parametrize("optimizer", ["adam", kasoku.optimizer.Adam(0.001)])
def test_fit_learns_what_augment_gives(rng, optimizer):
    x, t = rng.random((20, 1, 28, 28)), np.arange(20) % 10
    seen = []

    def augment(batch):
        seen.append(batch.shape)
        return Augmentation(shift=1, seed=len(seen))(batch)

    network = SimpleConvNet(seed=1)
    history = network.fit(x, t, 2, batch_size=8, optimizer=optimizer, augment=augment, seed=1)
    assert [shape[0] for shape in seen] == [8, 8, 4] * 2
    assert len(history.losses) == 6
    plain = TwoLayerNet(784, 5, 10, seed=1)
    same = TwoLayerNet(784, 5, 10, seed=1)
    expected = plain.fit(x, t, 2, batch_size=8, seed=1, optimizer="sgd", schedule=("step", 1, 0.5))
    found = same.fit(
        x, t, 2, batch_size=8, seed=1, optimizer="sgd", schedule=("step", 1, 0.5), augment=np.array
    )
    assert found.losses == expected.losses
