//! Networks: layers in a row, and the book's five.
//!
//! The book's networks are recipes with its numbers as defaults; each builds a [`Sequential`].

mod batch;
mod book;
mod builder;
mod description;
mod ensemble;
mod sequential;
mod summary;

pub use batch::Batch;
pub use book::{
    Activation, DeepConvNet, MultiLayerNet, MultiLayerNetExtend, SimpleConvNet, TwoLayerNet,
};
pub use builder::{Branches, SequentialBuilder};
pub use description::Description;
pub use ensemble::Ensemble;
pub use sequential::Sequential;
