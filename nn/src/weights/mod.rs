//! Weights in files: safetensors and npz, one tensor for each name of [`Sequential::state`].
//!
//! A file is written beside its final name and renamed when whole. Loading checks every name and shape before it changes
//! anything; numbers of 16, 32 and 64 bits are converted to the network's.

mod float16;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::str::FromStr;

use half::f16;
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use ndarray_npy::{NpzWriter, ReadNpyExt, ViewNpyError, ViewNpyExt};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use zip::ZipArchive;

use crate::networks::Sequential;
use crate::{Element, Error, Result};
use float16::{Half, nearest};

/// The two kinds of files, told apart by their extension.
#[derive(Debug, Clone, Copy)]
enum Format {
    Safetensors,
    Npz,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npz") => Ok(Self::Npz),
            _ => Err(problem(path)("the name must end in .safetensors or .npz")),
        }
    }
}

/// The numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 16 bits, 11 of them significant: half the space of `f32`, and enough for trained weights. Up to 65504.
    Half,
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

impl Precision {
    /// That of a network of T.
    pub fn of<T: Element>() -> Self {
        if T::NAME == "f32" { Self::Single } else { Self::Double }
    }

    /// Whether a finite number stays finite.
    fn holds(self, x: f64) -> bool {
        !x.is_finite()
            || match self {
                Self::Half => nearest(x).is_finite(),
                Self::Single => (x as f32).is_finite(),
                Self::Double => true,
            }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::Half => Dtype::F16,
            Self::Single => Dtype::F32,
            Self::Double => Dtype::F64,
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// NumPy's names: `float16`, `float32`, `float64`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "float16" => Ok(Self::Half),
            "float32" => Ok(Self::Single),
            "float64" => Ok(Self::Double),
            _ => Err(Error::Argument {
                name: "dtype",
                value: format!("{text:?}"),
                expected: "\"float16\", \"float32\" or \"float64\"".into(),
            }),
        }
    }
}

/// Makes errors about a file.
fn problem<E: ToString>(path: &Path) -> impl Fn(E) -> Error {
    let path = path.to_owned();
    move |problem| Error::Weights { path: path.clone(), problem: problem.to_string() }
}

/// Whether [`save`] can write to `path`, as far as that is known beforehand: for programs that work long before they save.
///
/// # Errors
/// [`Error::Weights`] where the extension is another, or there is no such folder.
pub fn check_path(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    Format::of(path)?;
    match folder(path) {
        folder if folder.is_dir() => Ok(()),
        folder => Err(problem(path)(format!("there is no folder {}", folder.display()))),
    }
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the network's weights to `path`, whose extension says how: `.safetensors` or `.npz`.
///
/// # Errors
/// [`Error::Weights`] where the file cannot be written, or has another extension.
pub fn save<T: Element>(network: &mut Sequential<T>, path: impl AsRef<Path>) -> Result<()> {
    save_as(network, path, Precision::of::<T>())
}

/// [`save`] with the numbers rounded to `precision`.
///
/// # Errors
/// As [`save`], and [`Error::Weights`], which names the tensor, where a number is too large for the precision.
pub fn save_as<T: Element>(
    network: &mut Sequential<T>,
    path: impl AsRef<Path>,
    precision: Precision,
) -> Result<()> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    for (name, tensor) in network.state() {
        if let Some(x) = tensor.iter().find(|x| !precision.holds(x.as_f64())) {
            let dtype = precision.dtype();
            return Err(problem(path)(format!("tensor {name} holds {x}, too large for {dtype}")));
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(problem(path))?;
    let state = network.state();
    match format {
        Format::Safetensors => write_safetensors(&state, precision, path, file.as_file_mut())?,
        Format::Npz => write_npz(&state, precision, path, file.as_file_mut())?,
    }
    file.as_file().sync_all().map_err(problem(path))?;
    file.persist(path).map_err(|error| problem(path)(error.error))?;
    Ok(())
}

fn write_safetensors<T: Element>(
    state: &[(String, &mut ArrayD<T>)],
    precision: Precision,
    path: &Path,
    file: &mut File,
) -> Result<()> {
    let bytes: fn(f64) -> Vec<u8> = match precision {
        Precision::Half => |x| nearest(x).to_le_bytes().to_vec(),
        Precision::Single => |x| (x as f32).to_le_bytes().to_vec(),
        Precision::Double => |x| x.to_le_bytes().to_vec(),
    };
    let data: Vec<Vec<u8>> = state
        .iter()
        .map(|(_, tensor)| tensor.iter().flat_map(|x| bytes(x.as_f64())).collect())
        .collect();
    let views = state.iter().zip(&data).map(|((name, tensor), data)| {
        TensorView::new(precision.dtype(), tensor.shape().to_vec(), data).map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(problem(path))?;
    let bytes = safetensors::serialize(views, None).map_err(problem(path))?;
    file.write_all(&bytes).map_err(problem(path))
}

fn write_npz<T: Element>(
    state: &[(String, &mut ArrayD<T>)],
    precision: Precision,
    path: &Path,
    file: &mut File,
) -> Result<()> {
    let mut npz = NpzWriter::new(file);
    for (name, tensor) in state {
        let written = match precision {
            Precision::Half => npz.add_array(name, &tensor.mapv(|x| Half(nearest(x.as_f64())))),
            Precision::Single => npz.add_array(name, &tensor.mapv(|x| x.as_f64() as f32)),
            Precision::Double => npz.add_array(name, &tensor.mapv(T::as_f64)),
        };
        written.map_err(problem(path))?;
    }
    npz.finish().map_err(problem(path))?;
    Ok(())
}

/// Reads weights into the network, by name.
///
/// # Errors
/// [`Error::Weights`], which names the tensor, where one is missing, unexpected, of another shape than the network's, or no
/// floating-point numbers; the network is unchanged then.
pub fn load<T: Element>(network: &mut Sequential<T>, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    let mut state = network.state();
    let expected: Vec<Expected> = state
        .iter()
        .map(|(name, tensor)| Expected { name: name.clone(), shape: tensor.shape().to_vec() })
        .collect();
    let tensors = match format {
        Format::Safetensors => {
            let bytes = fs::read(path).map_err(problem(path))?;
            read_safetensors(&bytes, &expected)
        }
        Format::Npz => read_npz(File::open(path).map_err(problem(path))?, &expected),
    };
    let tensors = tensors.map_err(problem(path))?;
    for ((_, tensor), read) in state.iter_mut().zip(tensors) {
        tensor.zip_mut_with(&read, |to, &from| *to = T::of(from));
    }
    Ok(())
}

/// A tensor that a file must hold.
struct Expected {
    name: String,
    shape: Vec<usize>,
}

impl Expected {
    fn check_shape(&self, found: &[usize]) -> Result<(), String> {
        if found == self.shape {
            return Ok(());
        }
        let Self { name, shape } = self;
        Err(format!("tensor {name} has shape {found:?}, the network's has {shape:?}"))
    }

    fn check_names(expected: &[Self], found: &[&str]) -> Result<(), String> {
        if let Some(missing) = expected.iter().find(|tensor| !found.contains(&&*tensor.name)) {
            return Err(format!(
                "tensor {} is missing; there are: {}",
                missing.name,
                found.join(", ")
            ));
        }
        let known = |name: &&&str| expected.iter().any(|tensor| tensor.name == **name);
        match found.iter().find(|name| !known(name)) {
            Some(unexpected) => Err(format!("tensor {unexpected} is not one of the network's")),
            None => Ok(()),
        }
    }
}

/// The expected tensors, in their order; as f64, which holds every kind exactly.
fn read_safetensors(bytes: &[u8], expected: &[Expected]) -> Result<Vec<ArrayD<f64>>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    Expected::check_names(expected, &file.names())?;
    let read = |tensor: &Expected| {
        let name = &tensor.name;
        let view = file.tensor(name).map_err(|error| format!("tensor {name}: {error}"))?;
        tensor.check_shape(view.shape())?;
        let numbers = match view.dtype() {
            Dtype::F16 => {
                let (numbers, _) = view.data().as_chunks::<2>();
                numbers.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f64()).collect()
            }
            Dtype::F32 => {
                let (numbers, _) = view.data().as_chunks::<4>();
                numbers.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
            }
            Dtype::F64 => {
                let (numbers, _) = view.data().as_chunks::<8>();
                numbers.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
            }
            other => {
                return Err(format!("tensor {name} holds {other:?}, expected F16, F32 or F64"));
            }
        };
        ArrayD::from_shape_vec(IxDyn(&tensor.shape), numbers)
            .map_err(|error| format!("tensor {name}: {error}"))
    };
    expected.iter().map(read).collect()
}

/// As [`read_safetensors`]. An entry is read no further than the tensor it must be: its header may claim anything.
fn read_npz(file: impl Read + Seek, expected: &[Expected]) -> Result<Vec<ArrayD<f64>>, String> {
    /// Enough for any header of a .npy file of ours or NumPy's.
    const HEADER_LEN: u64 = 1 << 16;
    let mut zip = ZipArchive::new(file).map_err(|error| error.to_string())?;
    let names = zip.file_names().map(|name| name.strip_suffix(".npy").unwrap_or(name));
    Expected::check_names(expected, &names.collect::<Vec<_>>())?;
    let mut read = |tensor: &Expected| {
        let name = &tensor.name;
        let describe = |error: &dyn std::error::Error| format!("tensor {name}: {error}");
        let entry = match zip.index_for_name(&format!("{name}.npy")) {
            Some(index) => zip.by_index(index),
            None => zip.by_name(name),
        };
        let entry = entry.map_err(|error| describe(&error))?;
        let len: usize = tensor.shape.iter().product();
        let mut bytes = Vec::new();
        let limit = (len * size_of::<f64>()) as u64 + HEADER_LEN;
        entry.take(limit).read_to_end(&mut bytes).map_err(|error| describe(&error))?;
        let array = match ArrayViewD::<f32>::view_npy(&bytes) {
            Ok(array) => array.mapv(f64::from),
            Err(ViewNpyError::WrongDescriptor(_)) => match ArrayViewD::<f64>::view_npy(&bytes) {
                Ok(array) => array.to_owned(),
                Err(ViewNpyError::WrongDescriptor(found)) => {
                    let halves = ArrayD::<Half>::read_npy(&bytes[..]);
                    let expected = "expected '<f2', '<f4' or '<f8'";
                    let other = |_| format!("tensor {name} holds {found}, {expected}");
                    halves.map_err(other)?.mapv(|half| half.0.to_f64())
                }
                Err(error) => return Err(describe(&error)),
            },
            Err(error) => return Err(describe(&error)),
        };
        tensor.check_shape(array.shape())?;
        Ok(array)
    };
    expected.iter().map(&mut read).collect()
}
