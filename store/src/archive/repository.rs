//! Where backups lie: a directory, or a bucket that is spoken to as S3.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, Error, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::moving::Problem;

/// Bytes that are sent as one part; S3 takes none below 5 MiB but the last.
const PART_BYTES: usize = 8 << 20;
/// Parts under way.
const PARTS: usize = 2;
/// A request takes so long at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// An attempt is made again for so long: whoever asks tries again by itself.
const AGAIN: Duration = Duration::from_secs(10);
/// A piece handed over by who writes, about, bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait.
const PIECES: usize = 16;

/// What whoever is refused looks at.
const KEYS: &str =
    " (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say who asks: are they right, and may that one do it?)";

/// What lies in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// See the module; clones share everything.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    /// What every name begins with.
    root: Path,
    place: String,
    remote: bool,
    pace: Arc<Pace>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.place)
    }
}

/// PURE: a line of what a server says in XML: its code and its message.
fn said(text: &str) -> String {
    let word = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let before = text.find("<?xml").or_else(|| text.find("<Error>")).and_then(|at| text.get(..at));
    match (before, word("Code"), word("Message")) {
        (Some(before), Some(code), Some(message)) => format!("{before}{code}: {message}"),
        (Some(before), Some(code), None) => format!("{before}{code}"),
        _ => text.to_owned(),
    }
}

/// Whether a word names a bucket.
pub fn is_bucket(place: &str) -> bool {
    place.starts_with("s3://")
}

impl Repository {
    /// `s3://BUCKET/PREFIX`, by the usual variables `AWS_…`, or a directory, which is made where it is missing.
    ///
    /// # Errors
    /// When the words or variables make no sense, or the directory cannot be made.
    pub fn open(place: &str) -> Result<Self, Problem> {
        if is_bucket(place) { Repository::bucket(place) } else { Repository::directory(place) }
    }

    /// The same of one that must be there already.
    ///
    /// # Errors
    /// When the directory is missing.
    pub fn existing(place: &str) -> Result<Self, Problem> {
        if !is_bucket(place) && !FilePath::new(place).is_dir() {
            return Err(Problem::Refused(format!("{place}: there is no such directory")));
        }
        Repository::open(place)
    }

    /// Sends and takes so many bytes a second at most.
    #[must_use]
    pub fn paced(self, bytes_a_second: Option<u64>) -> Self {
        Repository { pace: Arc::new(Pace::new(bytes_a_second)), ..self }
    }

    fn with(store: Arc<dyn ObjectStore>, root: Path, place: &str, remote: bool) -> Self {
        let pace = Arc::new(Pace::new(None));
        Repository { store, root, place: place.to_owned(), remote, pace }
    }

    fn directory(place: &str) -> Result<Self, Problem> {
        let wrong = |error: &dyn std::fmt::Display| Problem::Failed(format!("{place}: {error}"));
        // What lies there is as good as the store's data: nobody else's.
        if !FilePath::new(place).is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(place);
            made.map_err(|error| wrong(&error))?;
        }
        let local = LocalFileSystem::new_with_prefix(place).map_err(|error| wrong(&error))?.with_fsync(true);
        Ok(Repository::with(Arc::new(local), Path::default(), place, false))
    }

    fn bucket(place: &str) -> Result<Self, Problem> {
        let wrong = |error: &dyn std::fmt::Display| Problem::Refused(format!("{place}: {error}"));
        let rest = place.trim_start_matches("s3://");
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong(&"name the bucket: s3://BUCKET/PREFIX"));
        }
        let root = Path::parse(prefix.trim_matches('/')).map_err(|error| wrong(&error))?;
        let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .is_some_and(|url| url.starts_with("http://"));
        let mut client =
            ClientOptions::new().with_timeout(PATIENCE).with_connect_timeout(AGAIN / 2).with_allow_http(plain);
        if let Ok(file) = std::env::var("AWS_CA_BUNDLE") {
            let told = |error: &dyn std::fmt::Display| Problem::Refused(format!("AWS_CA_BUNDLE={file}: {error}"));
            let pem = fs::read(&file).map_err(|error| told(&error))?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| told(&error))? {
                client = client.with_root_certificate(certificate);
            }
        }
        let retry = RetryConfig { max_retries: 3, retry_timeout: AGAIN, ..RetryConfig::default() };
        let built = AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
        let built = built.build().map_err(|error| wrong(&error))?;
        Ok(Repository::with(Arc::new(built), root, place, true))
    }

    /// As it was named.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn path(&self, name: &str) -> Path {
        let mut path = self.root.clone();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            path = path.join(part);
        }
        path
    }

    fn problem(&self, name: &str, error: &Error) -> Problem {
        let mut inner: &dyn std::error::Error = error;
        while let Some(cause) = inner.source() {
            inner = cause;
        }
        let inner = inner.to_string();
        // Lists are refused in words alone.
        if inner.contains("<Code>NoSuchBucket</Code>") {
            return Problem::Refused(format!("{}: there is no such bucket", self.place));
        }
        let refused = ["status code: 401", "status code: 403"].iter().any(|status| inner.contains(status));
        let name = if name.is_empty() { "list" } else { name };
        let text = match error {
            Error::NotFound { .. } => return Problem::Refused(format!("{}: there is no {name}", self.place)),
            Error::Generic { .. } => format!("{}: {name}: {}", self.place, said(&inner)),
            other => format!("{}: {name}: {}", self.place, said(&other.to_string())),
        };
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Problem::Refused(text + KEYS),
            _ if refused => Problem::Refused(text + KEYS),
            _ if self.remote => Problem::Unreachable(text),
            _ => Problem::Failed(text),
        }
    }

    /// What lies in a folder, in the order of names; behind `after`, where that is given.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Listed>, Problem> {
        let under = self.path(folder);
        let mut objects = match after {
            Some(after) => self.store.list_with_offset(Some(&under), &self.path(after)),
            None => self.store.list(Some(&under)),
        };
        let mut found = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.problem(folder, &error))?;
            let Some(parts) = object.location.prefix_match(&self.root) else { continue };
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            found.push(Listed { name: parts.join("/"), bytes: object.size });
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Writes something small, all or nothing, over what has the name.
    ///
    /// # Errors
    /// When nobody takes it.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), Problem> {
        let length = bytes.len();
        self.store.put(&self.path(name), bytes.into()).await.map_err(|error| self.problem(name, &error))?;
        self.pace.took(length).await;
        Ok(())
    }

    /// All of something small.
    ///
    /// # Errors
    /// When it is not there, or nobody answers.
    pub async fn get(&self, name: &str) -> Result<Bytes, Problem> {
        let found = self.find(name).await?;
        found.ok_or_else(|| Problem::Refused(format!("{}: there is no {name}", self.place)))
    }

    /// The same of something that may be gone.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn find(&self, name: &str) -> Result<Option<Bytes>, Problem> {
        let wrong = |error: Error| self.problem(name, &error);
        let found = match self.store.get(&self.path(name)).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(wrong)?,
        };
        let bytes = found.bytes().await.map_err(wrong)?;
        self.pace.took(bytes.len()).await;
        Ok(Some(bytes))
    }

    /// Writes something large as it comes, all or nothing.
    ///
    /// # Errors
    /// When nobody takes it, or its writer gave up.
    pub async fn upload(&self, name: &str, mut pieces: Pieces) -> Result<u64, Problem> {
        let wrong = |error: Error| self.problem(name, &error);
        let upload = self.store.put_multipart(&self.path(name)).await.map_err(wrong)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut bytes = 0;
        let whole = loop {
            let Some(piece) = pieces.0.recv().await else { break false };
            let Some(piece) = piece else { break true };
            if let Err(error) = upload.wait_for_capacity(PARTS).await {
                // Best effort: what was sent in vain is thrown away by the bucket's own rules at the latest.
                let _ = upload.abort().await;
                return Err(wrong(error));
            }
            bytes += piece.len() as u64;
            self.pace.took(piece.len()).await;
            upload.put(piece);
        };
        if !whole {
            let _ = upload.abort().await;
            return Err(Problem::Failed(format!("{}: {name} was not written to its end", self.place)));
        }
        upload.finish().await.map_err(wrong)?;
        Ok(bytes)
    }

    /// Writes something large into a file.
    ///
    /// # Errors
    /// When it is not there, nobody answers, or the disk refuses.
    pub async fn download(&self, name: &str, file: &FilePath, told: impl Fn(u64, u64)) -> Result<(), Problem> {
        let wrong = |error: Error| self.problem(name, &error);
        let disk = |error: io::Error| Problem::Failed(format!("{}: {error}", file.display()));
        let found = self.store.get(&self.path(name)).await.map_err(wrong)?;
        let all = found.meta.size;
        let (mut pieces, mut done) = (found.into_stream(), 0);
        let mut sink = fs::File::create(file).map_err(disk)?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(wrong)?;
            sink.write_all(&piece).map_err(disk)?;
            done += piece.len() as u64;
            self.pace.took(piece.len()).await;
            told(done, all);
        }
        Ok(())
    }

    /// Removes something; it may be gone already.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn delete(&self, name: &str) -> Result<(), Problem> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.problem(name, &error)),
        }
    }
}

/// So many bytes a second at most.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    /// Since when, and how many.
    state: Mutex<Option<(Instant, u64)>>,
}

impl Pace {
    /// No limit, where there is no number.
    pub fn new(bytes_a_second: Option<u64>) -> Self {
        Pace { rate: bytes_a_second.filter(|rate| *rate > 0), state: Mutex::new(None) }
    }

    /// When so many more may have been moved.
    fn due(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let mut state = self.state.lock();
        let (begun, done) = state.get_or_insert((now, 0));
        *done += bytes as u64;
        Some(*begun + Duration::from_millis(done.saturating_mul(1000) / rate))
    }

    /// Returns when so many more may have been moved.
    pub async fn took(&self, bytes: usize) {
        if let Some(due) = self.due(bytes, Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
    }
}

/// What a writer hands over, until it says that this was all.
pub struct Pieces(mpsc::Receiver<Option<Bytes>>);

/// The other end of it: blocks while nobody takes what is written.
pub struct PieceWriter {
    sender: mpsc::Sender<Option<Bytes>>,
    piece: Vec<u8>,
}

/// Both ends.
pub fn pieces() -> (PieceWriter, Pieces) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (PieceWriter { sender, piece: Vec::new() }, Pieces(pieces))
}

impl PieceWriter {
    fn send(&self, piece: Option<Bytes>) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the backup any more");
        self.sender.blocking_send(piece).map_err(gone)
    }

    /// That was all: without it nothing is kept.
    ///
    /// # Errors
    /// When nobody takes it any more.
    pub fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(None)
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { self.send(Some(piece.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(problem: &Problem) -> String {
        problem.to_string()
    }

    #[tokio::test]
    async fn a_directory_holds_what_was_put_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("r").display().to_string();
        let repository = Repository::open(&place).expect("made");
        for name in ["a/2", "a/1", "b/1"] {
            repository.put(name, name.as_bytes().to_vec()).await.expect("put");
        }
        let names = |listed: Vec<Listed>| listed.into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert_eq!(names(repository.list("a", None).await.expect("listed")), ["a/1", "a/2"]);
        assert_eq!(names(repository.list("a", Some("a/1")).await.expect("listed")), ["a/2"]);
        assert_eq!(names(repository.list("", None).await.expect("listed")), ["a/1", "a/2", "b/1"]);
        assert_eq!(names(repository.list("none", None).await.expect("listed")), [""; 0]);
        assert_eq!(repository.get("b/1").await.expect("there"), "b/1");
        assert!(text(&repository.get("b/2").await.expect_err("not there")).contains("there is no b/2"));

        let (mut writer, given) = pieces();
        let written = tokio::task::spawn_blocking(move || {
            writer.write_all(&vec![7; 3 * PIECE_BYTES / 2])?;
            writer.end()
        });
        assert_eq!(repository.upload("big", given).await.expect("uploaded"), 3 * PIECE_BYTES as u64 / 2);
        written.await.expect("joined").expect("written");
        let (mut writer, given) = pieces();
        let broken = tokio::task::spawn_blocking(move || writer.write_all(&vec![7; 2 * PIECE_BYTES]));
        assert!(text(&repository.upload("half", given).await.expect_err("no end")).contains("not written to its end"));
        broken.await.expect("joined").expect("written");
        assert_eq!(names(repository.list("", None).await.expect("listed")), ["a/1", "a/2", "b/1", "big"]);

        let file = dir.path().join("file");
        repository.download("big", &file, |done, all| assert!(done <= all)).await.expect("there");
        assert_eq!(fs::metadata(&file).expect("written").len(), 3 * PIECE_BYTES as u64 / 2);
        repository.delete("big").await.expect("deleted");
        repository.delete("big").await.expect("nothing to do");
    }

    #[test]
    fn what_a_server_says_is_a_line() {
        let error = "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>No.</Message>\
                     <RequestId>7</RequestId></Error>";
        assert_eq!(said(error), "403 Forbidden: AccessDenied: No.");
        assert_eq!(said("403: <Error><Code>AccessDenied</Code></Error>"), "403: AccessDenied");
        assert_eq!(said("no route"), "no route");
    }

    #[test]
    fn a_pace_is_kept() {
        let (pace, begun) = (Pace::new(Some(1000)), Instant::now());
        let due: Vec<_> = (0..3).filter_map(|_| pace.due(500, begun)).map(|due| (due - begun).as_millis()).collect();
        assert_eq!(due, [500, 1000, 1500]);
        assert_eq!(Pace::new(None).due(500, begun), None);
    }

    #[test]
    fn a_bucket_needs_a_name() {
        assert!(text(&Repository::open("s3:///prefix").expect_err("refused")).contains("s3://BUCKET"));
    }
}
