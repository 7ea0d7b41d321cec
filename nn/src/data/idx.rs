//! The IDX format of the MNIST files: a big-endian magic number, the counts, then one byte a value.
//!
//! Source: Y. LeCun, C. Cortes and C. Burges, *The MNIST database of handwritten digits*, "File formats".
//! Gzip is recognised by its content, not by the file's name. A header is believed only within
//! [`MAX_ITEMS`], and memory grows only as bytes arrive.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ndarray::{Array1, Array4};

use super::{DataError, IMAGE_SIDE, check_labels};

/// The most images or labels that are read from one file (MNIST has 60,000, EMNIST 814,255).
pub const MAX_ITEMS: u32 = 1_000_000;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What an IDX file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Images,
    Labels,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Labels => "labels",
        }
    }

    /// Two zero bytes, the type (8: unsigned byte) and the number of dimensions.
    fn magic(self) -> u32 {
        match self {
            Kind::Images => 0x0803,
            Kind::Labels => 0x0801,
        }
    }

    fn header_len(self) -> usize {
        match self {
            Kind::Images => 16,
            Kind::Labels => 8,
        }
    }

    pub(super) fn item_len(self) -> usize {
        match self {
            Kind::Images => IMAGE_SIDE * IMAGE_SIDE,
            Kind::Labels => 1,
        }
    }
}

/// The decompressed content of an IDX file whose header and length have been checked.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) header: Vec<u8>,
    pub(super) items: Vec<u8>,
    pub(super) count: usize,
}

impl Content {
    /// (N, 1, 28, 28), in the file's order.
    pub(super) fn into_images(self) -> Array4<u8> {
        Array4::from_shape_vec((self.count, 1, IMAGE_SIDE, IMAGE_SIDE), self.items)
            .expect("parse checked the length")
    }
}

/// Reads a file of 28×28 images, magic number 2051, plain or gzipped: (N, 1, 28, 28), 0 white to 255 black.
///
/// # Errors
/// The file cannot be read, is damaged, is not an IDX file of at most [`MAX_ITEMS`] 28×28 images, or is
/// longer or shorter than its header says.
pub fn read_images(path: impl AsRef<Path>) -> Result<Array4<u8>, DataError> {
    Ok(read(path.as_ref(), Kind::Images)?.into_images())
}

/// Reads a file of labels, magic number 2049, plain or gzipped: (N), each 0 to 9.
///
/// # Errors
/// As [`read_images`], and for a label above 9.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Array1<u8>, DataError> {
    Ok(Array1::from_vec(read(path.as_ref(), Kind::Labels)?.items))
}

/// Opens and parses one file.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Content, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    parse(BufReader::new(file), kind, &path.display().to_string())
}

/// Parses a stream, plain or gzipped; `path` is the name for messages.
pub(super) fn parse(
    mut stream: impl BufRead,
    kind: Kind,
    path: &str,
) -> Result<Content, DataError> {
    let start = stream.fill_buf().map_err(DataError::io(path))?;
    if start.starts_with(&GZIP_MAGIC) {
        parse_plain(MultiGzDecoder::new(stream), kind, path)
    } else {
        parse_plain(stream, kind, path)
    }
}

fn parse_plain(mut stream: impl Read, kind: Kind, path: &str) -> Result<Content, DataError> {
    let header_len = kind.header_len() as u64;
    let header = read_up_to(&mut stream, header_len, path)?;
    let word = |i: usize| {
        let bytes = header.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or_else(|| DataError::Truncated {
            path: path.to_owned(),
            expected: header_len,
            found: header.len() as u64,
        })
    };

    let (magic, expected) = (word(0)?, kind.magic());
    if magic != expected {
        return Err(DataError::Magic {
            path: path.to_owned(),
            kind: kind.name(),
            expected,
            found: magic,
        });
    }
    let count = word(1)?;
    if count > MAX_ITEMS {
        return Err(DataError::TooMany {
            path: path.to_owned(),
            kind: kind.name(),
            found: count,
            limit: MAX_ITEMS,
        });
    }
    if kind == Kind::Images {
        let (rows, columns) = (word(2)? as usize, word(3)? as usize);
        if (rows, columns) != (IMAGE_SIDE, IMAGE_SIDE) {
            return Err(DataError::ImageSize { path: path.to_owned(), rows, columns });
        }
    }

    // One byte more than expected tells trailing bytes, and reading to the end checks gzip's CRC.
    let expected = u64::from(count) * kind.item_len() as u64;
    let items = read_up_to(&mut stream, expected + 1, path)?;
    let found = items.len() as u64;
    if found > expected {
        return Err(DataError::Trailing { path: path.to_owned(), expected: header_len + expected });
    }
    if found < expected {
        return Err(DataError::Truncated {
            path: path.to_owned(),
            expected: header_len + expected,
            found: header_len + found,
        });
    }
    if kind == Kind::Labels {
        check_labels(&items, path)?;
    }
    Ok(Content { header, items, count: count as usize })
}

/// At most `limit` bytes of the stream. The vector starts empty and doubles as bytes arrive.
fn read_up_to(stream: &mut impl Read, limit: u64, path: &str) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match stream.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        // Only a decoder reports these: a plain file that ends is no error to the reader.
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => Err(DataError::Gzip {
                path: path.to_owned(),
                source: io::Error::new(
                    error.kind(),
                    format!("truncated ({} bytes came out before it broke off)", bytes.len()),
                ),
            }),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Err(DataError::Gzip { path: path.to_owned(), source: error })
            }
            _ => Err(DataError::Io { path: path.to_owned(), source: error }),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    const PIXELS: usize = IMAGE_SIDE * IMAGE_SIDE;

    fn images(count: u32, side: u32, body: &[u8]) -> Vec<u8> {
        let header = [2051, count, side, side].map(u32::to_be_bytes).concat();
        [header, body.to_vec()].concat()
    }

    fn labels(count: u32, body: &[u8]) -> Vec<u8> {
        let header = [2049, count].map(u32::to_be_bytes).concat();
        [header, body.to_vec()].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn message(bytes: &[u8], kind: Kind) -> String {
        let error = parse(bytes, kind, "some-file").unwrap_err().to_string();
        assert!(error.starts_with("some-file: "), "{error}");
        error
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        let body: Vec<u8> = (0..3 * PIXELS).map(|i| (i % 251) as u8).collect();
        let plain = images(3, 28, &body);
        for bytes in [plain.clone(), gzip(&plain)] {
            let content = parse(bytes.as_slice(), Kind::Images, "f").unwrap();
            assert_eq!(content.header, plain[..16]);
            let array = content.into_images();
            assert_eq!(array.dim(), (3, 1, 28, 28));
            assert_eq!(array[[1, 0, 2, 3]], body[PIXELS + 2 * 28 + 3]);
        }
        let plain = labels(4, &[0, 9, 5, 1]);
        for bytes in [plain.clone(), gzip(&plain)] {
            assert_eq!(parse(bytes.as_slice(), Kind::Labels, "f").unwrap().items, [0, 9, 5, 1]);
        }
        assert_eq!(parse(images(0, 28, &[]).as_slice(), Kind::Images, "f").unwrap().count, 0);
    }

    #[test]
    fn files_are_read_by_content_not_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels-without-suffix");
        std::fs::write(&path, gzip(&labels(2, &[3, 4]))).unwrap();
        assert_eq!(read_labels(&path).unwrap().to_vec(), [3, 4]);
        let path = dir.path().join("images.gz");
        std::fs::write(&path, images(1, 28, &[7; PIXELS])).unwrap();
        assert!(read_images(&path).unwrap().iter().all(|&pixel| pixel == 7));
        let missing = dir.path().join("missing");
        let error = read_labels(&missing).unwrap_err().to_string();
        assert!(error.contains(&missing.display().to_string()), "{error}");
    }

    #[test]
    fn a_wrong_header_is_named() {
        let text = message(&labels(1, &[1]), Kind::Images);
        assert!(text.contains("2049") && text.contains("2051"), "{text}");
        assert!(message(b"PK\x03\x04 zip", Kind::Labels).contains("magic number"));
        assert!(message(&images(1, 32, &[0; 1024]), Kind::Images).contains("32×32"));
        let text = message(&images(u32::MAX, 28, &[]), Kind::Images);
        assert!(text.contains("claims 4294967295 images"), "{text}");
        assert!(message(&labels(MAX_ITEMS + 1, &[]), Kind::Labels).contains("1000001 labels"));
    }

    #[test]
    fn a_wrong_length_is_named() {
        let whole = images(2, 28, &[0; 2 * PIXELS]);
        for len in [0, 3, 4, 15] {
            assert!(message(&whole[..len], Kind::Images).contains("expected 16"), "{len}");
        }
        let text = message(&whole[..whole.len() - 1], Kind::Images);
        assert!(text.contains("truncated: 1583 bytes") && text.contains("1584"), "{text}");
        let long = [whole, vec![0]].concat();
        assert!(message(&long, Kind::Images).contains("trailing"));
        assert!(message(&gzip(&long), Kind::Images).contains("trailing"));
    }

    #[test]
    fn a_damaged_gzip_stream_is_named() {
        let whole = gzip(&labels(3, &[1, 2, 3]));
        // Every proper prefix with the gzip magic, those that lack only the CRC and length included.
        for len in 2..whole.len() {
            assert!(message(&whole[..len], Kind::Labels).contains("truncated"), "{len}");
        }
        let mut wrong_crc = whole.clone();
        let at = whole.len() - 8;
        wrong_crc[at] ^= 1;
        assert!(message(&wrong_crc, Kind::Labels).contains("damaged gzip"));
        let garbage_after = [whole, b"more".to_vec()].concat();
        assert!(message(&garbage_after, Kind::Labels).contains("damaged gzip"));
    }

    #[test]
    fn a_label_above_nine_is_named() {
        let text = message(&labels(3, &[9, 10, 0]), Kind::Labels);
        assert!(text.contains("label 10 at index 1"), "{text}");
    }

    #[test]
    fn a_large_claim_allocates_only_what_arrives() {
        let bytes = images(MAX_ITEMS, 28, &[0; 100]);
        let mut stream = bytes.as_slice();
        read_up_to(&mut stream, 16, "f").unwrap();
        let items = read_up_to(&mut stream, u64::from(MAX_ITEMS) * PIXELS as u64, "f").unwrap();
        assert_eq!(items.len(), 100);
        assert!(items.capacity() <= 1024, "{}", items.capacity());
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Images), Just(Kind::Labels)]
    }

    /// Whatever comes in, it is refused or what comes out fits it, and the memory fits the bytes.
    fn check(bytes: &[u8], kind: Kind) -> Result<(), TestCaseError> {
        if let Ok(content) = parse(bytes, kind, "f") {
            prop_assert_eq!(content.items.len(), content.count * kind.item_len());
            prop_assert!(content.items.capacity() <= 2 * content.items.len() + 1024);
            // Deflate expands at most 1032-fold.
            prop_assert!(content.items.len() <= 1032 * bytes.len());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            start in prop_oneof![Just(&[][..]), Just(&[0, 0, 8, 1][..]), Just(&[0, 0, 8, 3][..]),
                Just(&[0x1f, 0x8b, 8, 0][..])],
            kind in kind(),
        ) {
            check(&[start, &bytes].concat(), kind)?;
        }

        #[test]
        fn mutated_files_never_panic(
            count in 0u32..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            keep in any::<prop::sample::Index>(),
            cut in any::<bool>(),
            compress in any::<bool>(),
            kind in kind(),
        ) {
            let body = vec![3; count as usize * kind.item_len()];
            let mut bytes = match kind {
                Kind::Images => images(count, 28, &body),
                Kind::Labels => labels(count, &body),
            };
            if compress {
                bytes = gzip(&bytes);
            }
            let whole = changes.is_empty() && !cut;
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(keep.index(bytes.len()));
            }
            prop_assert!(!whole || parse(bytes.as_slice(), kind, "f").is_ok());
            check(&bytes, kind)?;
        }
    }
}
