import numpy as np
import numpy.typing as npt

__all__ = ["load_digits_synthetic"]

Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8] | npt.NDArray[np.float64]
Pairs = tuple[tuple[Images, Labels], tuple[Images, Labels]]

def load_digits_synthetic(
    n_train: int = 60000,
    n_test: int = 10000,
    seed: int = 0,
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
) -> Pairs: ...
