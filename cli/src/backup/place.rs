//! Where a backup lies: a file, or one of those in a repository.

use std::path::{Path, PathBuf};

use store::archive::{BACKUPS, Listed, Repository, is_bucket};
use store::moving::Progress;

use crate::backup::failed;
use crate::backup::scratch::Scratch;
use crate::exit::Failure;

/// What a word names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    /// A repository, and one backup of it where it is named.
    Repository {
        place: String,
        id: Option<String>,
    },
}

impl Place {
    /// PURE but for the look at which directories there are.
    pub(super) fn parse(word: &str) -> Place {
        let (place, id) = word.rsplit_once('#').map_or((word, None), |(place, id)| (place, Some(id.to_owned())));
        if is_bucket(word) || place.ends_with('/') || Path::new(place).is_dir() {
            return Place::Repository { place: place.to_owned(), id };
        }
        Place::File(PathBuf::from(word))
    }
}

/// A backup in a file here: its own, or one that was fetched.
pub(super) struct Here {
    pub(super) file: PathBuf,
    /// What people call it.
    pub(super) shown: String,
    _scratch: Option<Scratch>,
}

/// What `create` calls a backup in a repository.
pub(super) fn name(id: &str) -> String {
    format!("{BACKUPS}/{id}.backup")
}

/// The id in such a name.
pub(super) fn id(name: &str) -> Option<&str> {
    name.strip_prefix(BACKUPS)?.strip_prefix('/')?.strip_suffix(".backup")
}

/// PURE: when a backup was taken and at which revision, as its id says.
pub(super) fn said(id: &str) -> Option<(String, i64)> {
    let (time, revision) = id.rsplit_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    Some((format!("{time}Z"), revision.parse().ok()?))
}

/// PURE: what a backup is called that is taken now.
pub(super) fn new_id(now: jiff::Timestamp, revision: i64) -> String {
    format!("{}-{revision}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// The backups in a repository, the newest last.
pub(super) async fn backups(repository: &Repository) -> Result<Vec<Listed>, Failure> {
    let listed = repository.list(BACKUPS, None).await?;
    Ok(listed.into_iter().filter(|one| id(&one.name).is_some()).collect())
}

/// Brings a backup here: of a repository the newest one, where none is named.
pub(super) async fn fetch(place: &Place, progress: &Progress) -> Result<Here, Failure> {
    let (place, wanted) = match place {
        Place::File(file) => return Ok(Here::file(file)),
        Place::Repository { place, id } => (place, id),
    };
    let repository = Repository::existing(place)?;
    let id = match wanted {
        Some(id) => id.clone(),
        None => {
            let all = backups(&repository).await?;
            let newest = all.last().and_then(|one| id(&one.name)).map(str::to_owned);
            newest.ok_or_else(|| {
                let look = format!(
                    "`raftsman backup list {place}` shows what there is: files and archives have their own names"
                );
                Failure::refused(format!("{place}: no backup is in this repository; {look}"))
            })?
        }
    };
    let scratch = Scratch::new()?;
    let file = scratch.path().join("backup");
    let told = |done, all| {
        let _ = progress.at("fetched, bytes", done, all);
    };
    progress.unless_stopped(repository.download(&name(&id), &file, told)).await?;
    Ok(Here { file, shown: format!("{place}#{id}"), _scratch: Some(scratch) })
}

impl Here {
    /// One that lies here.
    pub(super) fn file(file: &Path) -> Here {
        Here { file: file.to_owned(), shown: file.display().to_string(), _scratch: None }
    }

    /// Its bytes, decrypted, until this command is told to end.
    pub(super) fn open(&self, keys: &store::backup::sealed::Keys) -> Result<store::backup::sealed::Source, Failure> {
        let opened = std::fs::File::open(&self.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::refused(format!("{}: there is no such file or directory", self.shown))
            }
            _ => failed(format!("{}: {error}", self.shown)),
        })?;
        let source = store::backup::sealed::open(super::progress().stoppable(opened), keys);
        source.map_err(|error| Failure::refused(format!("{}: {error}", self.shown)))
    }

    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map(|facts| facts.len()).unwrap_or(0)
    }
}

/// A cluster's id.
pub(super) fn group(word: &str) -> Result<u64, String> {
    u64::from_str_radix(word, 16).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_file_or_a_repository_or_one_of_its_backups() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().display().to_string();
        let repository =
            |place: &str, id: Option<&str>| Place::Repository { place: place.to_owned(), id: id.map(str::to_owned) };
        assert_eq!(Place::parse(&dir), repository(&dir, None));
        assert_eq!(Place::parse(&format!("{dir}#x-1")), repository(&dir, Some("x-1")));
        assert_eq!(Place::parse("s3://b/p"), repository("s3://b/p", None));
        assert_eq!(Place::parse("s3://b/p#x-1"), repository("s3://b/p", Some("x-1")));
        assert_eq!(Place::parse("/no/such#file"), Place::File("/no/such#file".into()));
        assert_eq!(Place::parse("/no/such/"), repository("/no/such/", None), "what ends so is no file");
    }

    #[test]
    fn an_id_says_when_and_at_which_revision() {
        let now: jiff::Timestamp = "2026-11-26T04:05:06.7Z".parse().expect("a time");
        let made = new_id(now, 17);
        assert_eq!(made, "20261126T040506Z-17");
        assert_eq!(said(&made), Some(("2026-11-26T04:05:06Z".to_owned(), 17)));
        assert_eq!(id(&name(&made)), Some(made.as_str()));
        assert_eq!((said("other"), id("other/x.backup")), (None, None));
    }

    #[test]
    fn a_cluster_is_named_in_hexadecimal() {
        assert_eq!(group("00ff"), Ok(255));
        assert!(group("x").is_err());
    }
}
