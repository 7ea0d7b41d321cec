"""Images changed by chance before they are learned (chapter 8), so that a network never sees the same one twice.

>>> from kasoku.augmentation import Augmentation
>>> augment = Augmentation(shift=2, rotation=12, scale=0.1, seed=8)
>>> augment(x_train[:100])  # doctest: +SKIP
>>> network.fit(x_train, t_train, augment=augment)  # doctest: +SKIP
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku._core import dataset as _core

__all__ = ["Augmentation"]


class Augmentation:
    """Shifts, turns, resizes, mirrors and crops images by chance; a call gives changed images, another call others.

    shift: up to so many pixels up or down, and as many left or right.
    rotation: around the middle, up to so many degrees either way.
    scale: by a factor from 1 − scale to 1 + scale.
    flip: left to right, every other image. Not for digits: a mirrored 2 is no 2.
    crop: (height, width) to cut to, anywhere in the image; one number for both.
    seed: of the chance, the same on any number of threads. Drawn from ``np.random`` where it is None.

    All of it is one affine map of the coordinates, and each new pixel is read between the four old ones where it comes from
    (bilinear interpolation); around the image everything is 0. Moved by whole pixels, mirrored or cropped, an image keeps its
    numbers.
    """

    def __init__(
        self,
        shift: float = 0.0,
        rotation: float = 0.0,
        scale: float = 0.0,
        flip: bool = False,
        crop: int | tuple[int, int] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.shift = shift
        self.rotation = rotation
        self.scale = scale
        self.flip = flip
        self.crop = crop
        self.seed = int(np.random.randint(2**31) if seed is None else seed)
        self._step = 0

    def __call__(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """The changed images of x (N, C, H, W), in its type (float64 for integers).

        Raises ValueError where x has other axes, a number is below 0, scale not below 1, or the crop larger than the images.
        """
        x = np.asarray(x)
        if x.dtype.kind in "biu":
            x = x.astype(np.float64)
        numbers = float(self.shift), float(self.rotation), float(self.scale)
        changed = _core.augment(x, numbers, self.flip, self.crop, self.seed, self._step)
        self._step += 1
        return changed

    def __repr__(self) -> str:
        numbers = f"shift={self.shift}, rotation={self.rotation}, scale={self.scale}"
        return f"Augmentation({numbers}, flip={self.flip}, crop={self.crop}, seed={self.seed})"
