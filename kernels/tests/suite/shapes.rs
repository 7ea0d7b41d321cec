//! Named shapes, shared by the tests and the benchmarks.
#![allow(dead_code)] // each of them uses some

/// Matrix products: m, n, k.
pub const PRODUCTS: [(&str, [usize; 3]); 14] = [
    ("square 32", [32, 32, 32]),
    ("square 64", [64, 64, 64]),
    ("square 128", [128, 128, 128]),
    ("square 256", [256, 256, 256]),
    ("square 512", [512, 512, 512]),
    ("two-layer forward", [100, 50, 784]),
    ("two-layer weights", [784, 50, 100]),
    ("mlp forward", [100, 100, 784]),
    ("mlp hidden", [100, 100, 100]),
    ("mlp weights", [784, 100, 100]),
    ("simple affine", [100, 100, 4320]),
    ("deep affine", [100, 50, 1024]),
    ("output", [100, 10, 50]),
    ("one sample", [1, 100, 784]),
];

/// Sizes of square products, from what fits L1 to what fits nothing.
pub const SQUARES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048];

/// Tall products of a convolution by way of its column matrix: m, n, k.
pub const TALL: [[usize; 3]; 2] = [[57600, 30, 25], [78400, 16, 144]];

/// The fully connected layers of the book's five networks: inputs, outputs.
pub const AFFINE: [(&str, [usize; 2]); 7] = [
    ("two-layer 1", [784, 50]),
    ("two-layer 2", [50, 10]),
    ("mlp 1", [784, 100]),
    ("mlp hidden", [100, 100]),
    ("mlp output", [100, 10]),
    ("simple", [4320, 100]),
    ("deep", [1024, 50]),
];

/// The products of a fully connected layer: which operands are transposed, and m, n, k.
pub fn affine_products(
    [inputs, outputs]: [usize; 2],
    batch: usize,
) -> [(&'static str, [bool; 2], [usize; 3]); 3] {
    [
        ("forward", [false, false], [batch, outputs, inputs]),
        ("weights", [true, false], [inputs, outputs, batch]),
        ("inputs", [false, true], [batch, inputs, outputs]),
    ]
}

/// A square convolution of stride 1.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// The layer it is.
    pub name: &'static str,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub filters: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Height and width of the filter.
    pub filter: usize,
    /// Zeros around the input.
    pub pad: usize,
}

/// The convolutions of the book's SimpleConvNet and DeepConvNet.
pub const CONVOLUTIONS: [Convolution; 7] = [
    convolution("simple 1", 1, 30, 28, 5, 0),
    convolution("deep 1", 1, 16, 28, 3, 1),
    convolution("deep 2", 16, 16, 28, 3, 1),
    convolution("deep 3", 16, 32, 14, 3, 1),
    convolution("deep 4", 32, 32, 14, 3, 2),
    convolution("deep 5", 32, 64, 8, 3, 1),
    convolution("deep 6", 64, 64, 8, 3, 1),
];

const fn convolution(
    name: &'static str,
    channels: usize,
    filters: usize,
    size: usize,
    filter: usize,
    pad: usize,
) -> Convolution {
    Convolution { name, channels, filters, size, filter, pad }
}

/// Elements in vectors: in L1, L2, and beyond.
pub const VECTORS: [(&str, usize); 3] = [("4 Ki", 1 << 12), ("64 Ki", 1 << 16), ("4 Mi", 1 << 22)];
