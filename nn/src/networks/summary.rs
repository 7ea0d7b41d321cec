//! A network as people read it.

use std::fmt;

use super::Sequential;
use crate::Element;
use crate::layers::{Layer, learns};

/// One line a layer: its name, the shape of its output and how many numbers it learns. The layers inside a layer come below it,
/// indented, each chain of them marked with + where it begins.
impl<T: Element> fmt::Display for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "input", &format!("{:?}", self.input_shape()), "")?;
        f.write_str("\n")?;
        write_layers(f, self.layers(), self.input_shape(), "", "")?;
        line(f, "parameters", "", &self.parameter_count().to_string())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, shape: &str, count: &str) -> fmt::Result {
    write!(f, "{name:<28} {shape:>16} {count:>10}")
}

/// A line for each layer, the first one marked by `first` and the others by `rest`.
fn write_layers<T: Element>(
    f: &mut fmt::Formatter<'_>,
    layers: &[Box<dyn Layer<T>>],
    input: &[usize],
    first: &str,
    rest: &str,
) -> fmt::Result {
    let mut shape = input.to_vec();
    for (index, layer) in layers.iter().enumerate() {
        let output = layer.output_shape(&shape).map_err(|_| fmt::Error)?;
        let parameters = layer.parameters();
        let count: usize = parameters.iter().map(|parameter| parameter.value.len()).sum();
        let count = if count == 0 { String::new() } else { count.to_string() };
        let name = format!("{}{}", if index == 0 { first } else { rest }, layer.name());
        line(f, &name, &format!("{output:?}"), &count)?;
        let frozen = !parameters.is_empty() && !learns(&**layer);
        f.write_str(if frozen { " frozen\n" } else { "\n" })?;
        for chain in layer.chains() {
            write_layers(f, chain.layers(), &shape, &format!("{rest}+ "), &format!("{rest}  "))?;
        }
        shape = output;
    }
    Ok(())
}
