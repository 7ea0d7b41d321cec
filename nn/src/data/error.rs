//! What can be wrong with a data set: every message names the file (or the array) and what was expected.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error while reading, finding, downloading or indexing a data set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file could not be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The compressed stream is damaged, or something that is not gzip follows it.
    #[error("{path}: damaged gzip stream: {source}")]
    Gzip {
        /// The file.
        path: String,
        /// The decoder's reason.
        source: io::Error,
    },
    /// The file does not begin with the IDX magic number of its kind.
    #[error("{path}: magic number {found} is not that of an IDX file of {kind}, {expected}")]
    Magic {
        /// The file.
        path: String,
        /// `images` or `labels`.
        kind: &'static str,
        /// The number expected.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// Images of another size than 28×28.
    #[error("{path}: images of {rows}×{columns} pixels, expected 28×28")]
    ImageSize {
        /// The file.
        path: String,
        /// Rows found.
        rows: usize,
        /// Columns found.
        columns: usize,
    },
    /// An array of images that is not (N, 1, 28, 28).
    #[error("images of shape {found:?}, expected [N, 1, 28, 28]")]
    Shape {
        /// The shape found.
        found: Vec<usize>,
    },
    /// The header promises more items than this reader takes.
    #[error("{path}: the header claims {found} {kind}, at most {limit} are read")]
    TooMany {
        /// The file.
        path: String,
        /// `images` or `labels`.
        kind: &'static str,
        /// The count in the header.
        found: u32,
        /// The largest count accepted.
        limit: u32,
    },
    /// The stream ends early.
    #[error("{path}: truncated: {found} bytes (decompressed), expected {expected}")]
    Truncated {
        /// The file.
        path: String,
        /// Bytes promised by the header, itself included.
        expected: u64,
        /// Bytes present.
        found: u64,
    },
    /// Something follows the last item.
    #[error("{path}: trailing bytes after the {expected} (decompressed) that the header promises")]
    Trailing {
        /// The file.
        path: String,
        /// Bytes promised by the header, itself included.
        expected: u64,
    },
    /// A label that is no digit.
    #[error("{path}: label {label} at index {index}, expected 0 to 9")]
    Label {
        /// The file or array.
        path: String,
        /// The position of the label.
        index: usize,
        /// The label found.
        label: u8,
    },
    /// Images and labels that do not belong together.
    #[error("{images} holds {image_count} images but {labels} holds {label_count} labels")]
    CountsDiffer {
        /// The file or array of images.
        images: String,
        /// How many images.
        image_count: usize,
        /// The file or array of labels.
        labels: String,
        /// How many labels.
        label_count: usize,
    },
    /// The content is not that of the published file.
    #[error("{path}: SHA-256 of the decompressed content is {found}, MNIST's is {expected}")]
    Checksum {
        /// The file.
        path: String,
        /// The published digest, hexadecimal.
        expected: &'static str,
        /// The digest found, hexadecimal.
        found: String,
    },
    /// An index past the end of the data set.
    #[error("index {index} is outside a data set of {len} images")]
    Index {
        /// The index asked for.
        index: usize,
        /// The size of the data set.
        len: usize,
    },
    /// No folder holds the four MNIST files.
    #[error(
        "MNIST not found. Searched: {searched}. Expected there, with or without .gz: {files}. \
         Put them in one of these folders, name another one in KASOKU_DATA, or use the synthetic digits"
    )]
    NotFound {
        /// The folders searched and what each lacks.
        searched: String,
        /// The names of the four files.
        files: String,
    },
    /// There is no folder to download into.
    #[error("no cache directory: set XDG_CACHE_HOME to one, or KASOKU_DATA to the folder of MNIST")]
    NoCache,
    /// No mirror gave the file.
    #[error("could not download {file}: {}", list(reasons))]
    Download {
        /// The file wanted.
        file: &'static str,
        /// For each address tried, in turn, what went wrong.
        reasons: Vec<(String, String)>,
    },
    /// MNIST is neither on this machine nor to be had from the network.
    #[error("{not_found}. The download failed too: {download}")]
    Unavailable {
        /// Where it was looked for.
        not_found: Box<DataError>,
        /// Why it could not be downloaded.
        download: Box<DataError>,
    },
}

impl DataError {
    /// Wraps an I/O error with the path it happened at.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DataError {
        let path = path.into().display().to_string();
        move |source| DataError::Io { path, source }
    }
}

fn list(reasons: &[(String, String)]) -> String {
    let lines = reasons.iter().map(|(address, reason)| format!("{address}: {reason}"));
    lines.collect::<Vec<_>>().join("; ")
}
