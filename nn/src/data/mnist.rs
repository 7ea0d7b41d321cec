//! MNIST: where its four files may be, and reading them.
//!
//! Source: Y. LeCun, C. Cortes and C. Burges, *The MNIST database of handwritten digits*: 60,000 images to
//! learn from and 10,000 to test on. Every file is held to the SHA-256 of its decompressed content.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::idx::{self, Content, Kind};
use super::{DataError, Dataset, Split};

/// One of the four files, by the name it has without `.gz`.
#[derive(Debug, Clone, Copy)]
pub(super) struct MnistFile {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) sha256: &'static str,
}

/// Train images, train labels, test images, test labels.
pub(super) const FILES: [MnistFile; 4] = [
    MnistFile {
        name: "train-images-idx3-ubyte",
        kind: Kind::Images,
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    MnistFile {
        name: "train-labels-idx1-ubyte",
        kind: Kind::Labels,
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    MnistFile {
        name: "t10k-images-idx3-ubyte",
        kind: Kind::Images,
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    MnistFile {
        name: "t10k-labels-idx1-ubyte",
        kind: Kind::Labels,
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

impl MnistFile {
    /// Its path in a folder, without or with `.gz`.
    pub(super) fn locate(&self, dir: &Path) -> Option<PathBuf> {
        let names = [self.name.to_owned(), format!("{}.gz", self.name)];
        names.into_iter().map(|name| dir.join(name)).find(|path| path.is_file())
    }

    /// Parses a stream and holds it to the checksum; `path` is the name for messages.
    pub(super) fn parse(&self, stream: impl BufRead, path: &str) -> Result<Content, DataError> {
        let content = idx::parse(stream, self.kind, path)?;
        let found = hex_digest(&[&content.header, &content.items]);
        if found != self.sha256 {
            let path = path.to_owned();
            return Err(DataError::Checksum { path, expected: self.sha256, found });
        }
        Ok(content)
    }

    pub(super) fn read(&self, path: &Path) -> Result<Content, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        self.parse(BufReader::new(file), &path.display().to_string())
    }
}

/// The MNIST database of handwritten digits.
#[derive(Debug, Clone, Copy)]
pub struct Mnist;

impl Mnist {
    /// Reads the four files, each plain or gzipped, from the folder `dir`: 60,000 and 10,000 images.
    ///
    /// # Errors
    /// A file is missing, damaged or not MNIST's; the error names it.
    pub fn load(dir: impl AsRef<Path>) -> Result<Split, DataError> {
        load_files(&FILES, dir.as_ref())
    }

    /// The first folder that holds the four files among `dir`, the one `KASOKU_DATA` names, and
    /// [`cache_dir`](Self::cache_dir). The files are not read yet.
    ///
    /// # Errors
    /// None does: the error tells what each lacks, and how to go on.
    pub fn find(dir: Option<&Path>) -> Result<PathBuf, DataError> {
        let given = dir.map(|dir| ("the folder given", dir.to_owned()));
        let named = env::var_os("KASOKU_DATA").filter(|dir| !dir.is_empty());
        let named = named.map(|dir| ("KASOKU_DATA", PathBuf::from(dir)));
        let cache = Self::cache_dir().map(|dir| ("the cache", dir));
        find_among(&FILES, [given, named, cache].into_iter().flatten())
    }

    /// Where downloads are kept: `kasoku/mnist` in the user's cache directory, if there is one.
    pub fn cache_dir() -> Option<PathBuf> {
        Some(user_cache(|name| env::var_os(name), env::home_dir())?.join("kasoku").join("mnist"))
    }

    /// MNIST from the first folder that has it, as [`find`](Self::find) with `dir` looks for it. With
    /// the feature `download`, if none has it, it is downloaded into the cache first.
    ///
    /// `progress` is called as bytes arrive: the file's name, the bytes that have come and, where the
    /// mirror tells it, how many will.
    ///
    /// # Errors
    /// MNIST is nowhere (the error tells where it was looked for and how to go on), or a file is damaged.
    pub fn auto(
        dir: Option<&Path>,
        progress: impl FnMut(&str, u64, Option<u64>),
    ) -> Result<Split, DataError> {
        match Self::find(dir) {
            Ok(found) => Self::load(found),
            Err(not_found) => fetch(not_found, progress),
        }
    }
}

#[cfg(feature = "download")]
fn fetch(
    not_found: DataError,
    progress: impl FnMut(&str, u64, Option<u64>),
) -> Result<Split, DataError> {
    let cache = Mnist::cache_dir().ok_or(DataError::NoCache);
    let fetched = cache.and_then(|dir| super::download(&dir, progress).map(|()| dir));
    match fetched {
        Ok(dir) => Mnist::load(dir),
        Err(error) => Err(DataError::Unavailable {
            not_found: Box::new(not_found),
            download: Box::new(error),
        }),
    }
}

#[cfg(not(feature = "download"))]
fn fetch(
    not_found: DataError,
    _progress: impl FnMut(&str, u64, Option<u64>),
) -> Result<Split, DataError> {
    Err(not_found)
}

/// SHA-256 of the parts joined, in hexadecimal.
fn hex_digest(parts: &[&[u8]]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load_files(files: &[MnistFile; 4], dir: &Path) -> Result<Split, DataError> {
    find_among(files, [("the folder", dir.to_owned())])?;
    let [train_images, train_labels, test_images, test_labels] = files;
    Ok(Split {
        train: load_pair(train_images, train_labels, dir)?,
        test: load_pair(test_images, test_labels, dir)?,
    })
}

fn load_pair(images: &MnistFile, labels: &MnistFile, dir: &Path) -> Result<Dataset, DataError> {
    let path = |file: &MnistFile| file.locate(dir).unwrap_or_else(|| dir.join(file.name));
    let (images_path, labels_path) = (path(images), path(labels));
    let (images, labels) = (images.read(&images_path)?, labels.read(&labels_path)?);
    Dataset::from_contents(images, &images_path, labels, &labels_path)
}

/// The first of the folders, each with the name of where it comes from, that holds all the files.
fn find_among(
    files: &[MnistFile],
    places: impl IntoIterator<Item = (&'static str, PathBuf)>,
) -> Result<PathBuf, DataError> {
    let mut searched = Vec::new();
    for (origin, dir) in places {
        let missing: Vec<_> =
            files.iter().filter(|file| file.locate(&dir).is_none()).map(|file| file.name).collect();
        if missing.is_empty() {
            return Ok(dir);
        }
        let reason = match dir.is_dir() {
            true => format!("lacks {}", missing.join(", ")),
            false => "no such folder".to_owned(),
        };
        searched.push(format!("{origin} {} ({reason})", dir.display()));
    }
    let files = files.iter().map(|file| file.name).collect::<Vec<_>>().join(", ");
    Err(DataError::NotFound { searched: searched.join("; "), files })
}

/// The user's cache directory by the platform's custom, `XDG_CACHE_HOME` first.
fn user_cache(env: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG base directory specification: a relative path is invalid and to be ignored.
    let absolute = |name| env(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| match env::consts::OS {
        "windows" => absolute("LOCALAPPDATA"),
        "macos" => home.map(|home| home.join("Library").join("Caches")),
        _ => home.map(|home| home.join(".cache")),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// Four small files and their content: `counts` images and labels for train, then for test.
    pub(in crate::data) fn small(counts: [u32; 4]) -> [(MnistFile, Vec<u8>); 4] {
        let mut at = 0;
        FILES.map(|file| {
            let count = counts[at];
            at += 1;
            let mut content = match file.kind {
                Kind::Images => [2051, count, 28, 28].map(u32::to_be_bytes).concat(),
                Kind::Labels => [2049, count].map(u32::to_be_bytes).concat(),
            };
            content.resize(content.len() + count as usize * file.kind.item_len(), at as u8);
            (MnistFile { sha256: hex_digest(&[&content]).leak(), ..file }, content)
        })
    }

    fn write(dir: &Path, files: &[(MnistFile, Vec<u8>)]) {
        for (file, content) in files {
            fs::write(dir.join(file.name), content).unwrap();
        }
    }

    #[test]
    fn four_files_make_a_split() {
        let dir = tempfile::tempdir().unwrap();
        let files = small([3, 3, 2, 2]);
        write(dir.path(), &files);
        let split = load_files(&files.clone().map(|(file, _)| file), dir.path()).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (3, 2));
        assert!(split.train.images_u8().iter().all(|&pixel| pixel == 1));
        assert_eq!(split.test.labels_u8().to_vec(), [4, 4]);
    }

    #[test]
    fn counts_that_differ_name_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = small([3, 2, 1, 1]);
        write(dir.path(), &files);
        let error = load_files(&files.map(|(file, _)| file), dir.path()).unwrap_err().to_string();
        for part in ["train-images-idx3-ubyte holds 3", "train-labels-idx1-ubyte holds 2"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn another_content_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &small([3, 3, 2, 2]));
        let error = Mnist::load(dir.path()).unwrap_err();
        assert!(matches!(error, DataError::Checksum { .. }), "{error}");
        assert!(error.to_string().contains("train-images-idx3-ubyte: SHA-256"), "{error}");
    }

    #[test]
    fn the_first_whole_folder_is_found() {
        let [empty, part, whole, later] = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let files = small([0; 4]);
        write(part.path(), &files[..3]);
        write(whole.path(), &files[..2]);
        for (file, _) in &files[2..] {
            fs::write(whole.path().join(format!("{}.gz", file.name)), "").unwrap();
        }
        write(later.path(), &files);
        let places = |dirs: &[&tempfile::TempDir]| -> Vec<(&'static str, PathBuf)> {
            dirs.iter().map(|dir| ("place", dir.path().to_owned())).collect()
        };
        let found = find_among(&FILES, places(&[&empty, &part, &whole, &later])).unwrap();
        assert_eq!(found, whole.path());

        let mut none = places(&[&empty, &part]);
        none.push(("cache", empty.path().join("gone")));
        let error = find_among(&FILES, none).unwrap_err().to_string();
        for text in [
            format!("place {} (lacks train-images-idx3-ubyte, ", empty.path().display()),
            format!("place {} (lacks t10k-labels-idx1-ubyte)", part.path().display()),
            format!("cache {} (no such folder)", empty.path().join("gone").display()),
            "synthetic".to_owned(),
        ] {
            assert!(error.contains(&text), "{text} in {error}");
        }
    }

    #[test]
    fn the_cache_follows_the_platform() {
        let home = env::current_dir().unwrap();
        let xdg = home.join("xdg");
        let with = |value: &Path| {
            let value = value.as_os_str().to_owned();
            let env = move |name: &str| (name == "XDG_CACHE_HOME").then(|| value.clone());
            user_cache(env, Some(home.clone()))
        };
        assert_eq!(with(&xdg), Some(xdg.clone()));
        let default = user_cache(|_| None, Some(home.clone()));
        assert_eq!(with(Path::new("relative")), default);
        if cfg!(target_os = "linux") {
            assert_eq!(default, Some(home.join(".cache")));
        }
        assert_eq!(user_cache(|_| None, None), None);
    }
}
