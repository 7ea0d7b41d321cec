from kasoku import augmentation as augmentation
from kasoku import blocks as blocks
from kasoku import dataset as dataset
from kasoku import deep_layers as deep_layers
from kasoku import functions as functions
from kasoku import gradient as gradient
from kasoku import kernels as kernels
from kasoku import layers as layers
from kasoku import multi_layer_net as multi_layer_net
from kasoku import multi_layer_net_extend as multi_layer_net_extend
from kasoku import networks as networks
from kasoku import optimizer as optimizer
from kasoku import trainer as trainer
from kasoku import util as util
from kasoku import weights as weights
from kasoku.overlay import install as install
from kasoku.overlay import load_ipython_extension as load_ipython_extension
from kasoku.overlay import status as status
from kasoku.overlay import uninstall as uninstall
from kasoku.overlay import unload_ipython_extension as unload_ipython_extension
from kasoku.trainer import Trainer as Trainer

__version__: str
