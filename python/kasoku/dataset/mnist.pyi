from kasoku.dataset import Pairs

__all__ = ["load_mnist"]

def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False
) -> Pairs: ...
