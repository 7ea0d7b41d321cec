//! Fetching MNIST from its mirrors (feature `download`).
//!
//! A file is written beside its place, held to its checksum, and only then renamed: what has the right
//! name is whole.

use std::error::Error;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;
use ureq::Agent;

use super::DataError;
use super::mnist::{FILES, MnistFile};

/// Where the files are fetched from; a mirror that fails is followed by the next.
pub const MIRRORS: [&str; 3] = [
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
];

/// The largest answer accepted, in bytes; the largest file has 9.9 million.
const LARGEST: u64 = 16 << 20;

/// Fetches those of the four files, gzipped, that are not whole in `dir` yet, and makes the folder
/// if there is none.
///
/// `progress` is called as bytes arrive: the file's name, the bytes that have come and, where the mirror
/// tells it, how many will.
///
/// # Errors
/// The folder cannot be made, or no mirror gives a file: the error lists each with its reason.
pub fn download(
    dir: impl AsRef<Path>,
    mut progress: impl FnMut(&str, u64, Option<u64>),
) -> Result<(), DataError> {
    fetch_all(&agent(), &MIRRORS, &FILES, dir.as_ref(), &mut progress)
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_recv_body(Some(Duration::from_secs(300)))
        .build()
        .into()
}

type Progress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

fn fetch_all<M: AsRef<str>>(
    agent: &Agent,
    mirrors: &[M],
    files: &[MnistFile],
    dir: &Path,
    progress: Progress,
) -> Result<(), DataError> {
    fs::create_dir_all(dir).map_err(DataError::io(dir))?;
    for file in files {
        let whole = file.locate(dir).is_some_and(|path| file.read(&path).is_ok());
        if !whole {
            fetch(agent, mirrors, file, dir, progress)?;
        }
    }
    Ok(())
}

/// Fetches one file from the first mirror that gives it whole.
fn fetch<M: AsRef<str>>(
    agent: &Agent,
    mirrors: &[M],
    file: &MnistFile,
    dir: &Path,
    progress: Progress,
) -> Result<(), DataError> {
    let mut reasons = Vec::new();
    for mirror in mirrors {
        let url = format!("{}{}.gz", mirror.as_ref(), file.name);
        match fetch_from(agent, &url, file, dir, progress) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push((url, reason.to_string())),
        }
    }
    Err(DataError::Download { file: file.name, reasons })
}

fn fetch_from(
    agent: &Agent,
    url: &str,
    file: &MnistFile,
    dir: &Path,
    progress: Progress,
) -> Result<(), Box<dyn Error>> {
    let mut response = agent.get(url).call()?;
    let total = response.body().content_length();
    let mut body = response.body_mut().with_config().limit(LARGEST).reader();
    // Dropped on any error below, and then removed.
    let mut part = NamedTempFile::new_in(dir)?;
    let (mut buffer, mut done) = (vec![0; 1 << 16], 0);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        part.write_all(&buffer[..count])?;
        done += count as u64;
        progress(file.name, done, total);
    }
    file.parse(BufReader::new(part.reopen()?), file.name)?;
    part.as_file().sync_all()?;
    part.persist(dir.join(format!("{}.gz", file.name)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::thread;

    use flate2::{Compression, read::GzDecoder, write::GzEncoder};

    use super::super::mnist::tests::small;
    use super::*;

    /// How a mirror answers.
    #[derive(Clone, Copy)]
    enum Answer {
        Whole,
        /// A valid file of another checksum.
        Other,
        Forbidden,
        /// Says how long it is, and breaks off.
        BreaksOff,
        /// Ends early without having said how long it is.
        Short,
        /// More than [`LARGEST`] bytes.
        Endless,
    }

    /// A mirror on 127.0.0.1 that serves `contents` by name, gzipped; it lives until the tests end.
    fn mirror(answer: Answer, contents: &HashMap<String, Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/mnist/", listener.local_addr().unwrap());
        let contents = contents.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let body = path.strip_prefix("/mnist/").and_then(|name| contents.get(name));
                // The client may hang up first.
                let _ = respond(&mut stream, answer, body.map(Vec::as_slice));
            }
        });
        address
    }

    fn respond(stream: &mut impl Write, answer: Answer, body: Option<&[u8]>) -> io::Result<()> {
        let (Some(body), false) = (body, matches!(answer, Answer::Forbidden)) else {
            return stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        };
        let mut other = Vec::new();
        GzDecoder::new(body).read_to_end(&mut other)?;
        *other.last_mut().unwrap() ^= 1;
        let other = gzip(&other);
        let (length, sent) = match answer {
            Answer::Other => (Some(other.len()), other.as_slice()),
            Answer::BreaksOff => (Some(body.len()), &body[..body.len() / 2]),
            Answer::Short => (None, &body[..body.len() / 2]),
            Answer::Endless => (None, &vec![0x1f; LARGEST as usize + 1][..]),
            Answer::Whole | Answer::Forbidden => (Some(body.len()), body),
        };
        let length = length.map(|n| format!("Content-Length: {n}\r\n")).unwrap_or_default();
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n")?;
        stream.write_all(sent)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    struct Case {
        files: [MnistFile; 4],
        dir: tempfile::TempDir,
        contents: HashMap<String, Vec<u8>>,
    }

    impl Case {
        fn new() -> Self {
            let small = small([5, 5, 2, 2]);
            let contents =
                small.iter().map(|(file, bytes)| (format!("{}.gz", file.name), gzip(bytes)));
            let contents = contents.collect();
            let files = small.map(|(file, _)| file);
            Self { files, dir: tempfile::tempdir().unwrap(), contents }
        }

        fn run(&self, mirrors: &[String], progress: Progress) -> Result<(), DataError> {
            fetch_all(&local_agent(), mirrors, &self.files, self.dir.path(), progress)
        }

        fn present(&self) -> Vec<PathBuf> {
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
        }
    }

    /// No proxy of the environment may come between.
    fn local_agent() -> Agent {
        Agent::config_builder()
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into()
    }

    #[test]
    fn files_arrive_whole_and_are_kept() {
        let case = Case::new();
        let mirrors = [mirror(Answer::Whole, &case.contents)];
        let mut seen: HashMap<String, (u64, Option<u64>)> = HashMap::new();
        case.run(&mirrors, &mut |file, done, total| {
            assert!(done >= seen.get(file).map_or(0, |last| last.0));
            seen.insert(file.to_owned(), (done, total));
        })
        .unwrap();
        assert_eq!(case.present().len(), 4);
        for file in &case.files {
            let path = case.dir.path().join(format!("{}.gz", file.name));
            assert_eq!(file.locate(case.dir.path()), Some(path.clone()));
            let bytes = fs::read(path).unwrap();
            assert_eq!(seen[file.name], (bytes.len() as u64, Some(bytes.len() as u64)));
            assert_eq!(bytes, case.contents[&format!("{}.gz", file.name)]);
        }
        // What is there and whole is not fetched again: no mirror is asked.
        case.run(&[], &mut |_, _, _| {}).unwrap();
    }

    #[test]
    fn a_bad_mirror_falls_to_the_next() {
        for bad in
            [Answer::Other, Answer::Forbidden, Answer::BreaksOff, Answer::Short, Answer::Endless]
        {
            let case = Case::new();
            let mirrors = [bad, Answer::Whole].map(|answer| mirror(answer, &case.contents));
            case.run(&mirrors, &mut |_, _, _| {}).unwrap();
            assert_eq!(case.present().len(), 4);
            assert!(case.files.iter().all(|f| f.read(&f.locate(case.dir.path()).unwrap()).is_ok()));
        }
    }

    #[test]
    fn a_damaged_file_is_fetched_again() {
        let case = Case::new();
        let damaged = case.dir.path().join(format!("{}.gz", case.files[2].name));
        fs::write(&damaged, "half of a").unwrap();
        case.run(&[mirror(Answer::Whole, &case.contents)], &mut |_, _, _| {}).unwrap();
        assert!(case.files[2].read(&damaged).is_ok());
    }

    #[test]
    fn when_all_fail_each_is_listed_and_nothing_is_left() {
        let case = Case::new();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut mirrors = vec![format!("http://{closed}/")];
        for answer in
            [Answer::Forbidden, Answer::Other, Answer::BreaksOff, Answer::Short, Answer::Endless]
        {
            mirrors.push(mirror(answer, &case.contents));
        }
        let error = case.run(&mirrors, &mut |_, _, _| {}).unwrap_err();
        let DataError::Download { file, reasons } = &error else { panic!("{error}") };
        assert_eq!(*file, case.files[0].name);
        assert_eq!(reasons.len(), mirrors.len());
        let text = error.to_string();
        for (mirror, (url, _)) in mirrors.iter().zip(reasons) {
            assert!(url.starts_with(mirror.as_str()) && text.contains(url.as_str()), "{text}");
        }
        assert!(reasons[1].1.contains("403"), "{text}");
        assert!(reasons[2].1.contains("SHA-256"), "{text}");
        assert!(reasons[4].1.contains("truncated"), "{text}");
        assert_eq!(case.present(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let case = Case::new();
        let blocked = case.dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let error = fetch_all(
            &local_agent(),
            &[] as &[String],
            &case.files,
            &blocked.join("below"),
            &mut |_, _, _| {},
        );
        assert!(error.unwrap_err().to_string().contains("below"));
    }
}
