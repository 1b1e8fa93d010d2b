//! Files encrypted with a passphrase, in the format of age (age-encryption.org/v1), and files that are not.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};

pub(crate) use age::secrecy::SecretString as Secret;

/// What an encrypted file begins with.
const MARK: &[u8] = b"age-encryption.org/v1";

/// Reads a passphrase: the first line of a file.
///
/// # Errors
/// When the file cannot be read, or its first line is empty.
pub(crate) fn passphrase(file: &Path) -> Result<Secret, String> {
    let text = SecretString::from(std::fs::read_to_string(file).map_err(|error| error.to_string())?);
    let line = text.expose_secret().lines().next().unwrap_or_default();
    if line.is_empty() { Err("its first line is empty".to_owned()) } else { Ok(SecretString::from(line.to_owned())) }
}

/// A file that is being written.
pub(crate) enum Sink {
    Plain(File),
    Sealed(Box<age::stream::StreamWriter<File>>),
}

impl Sink {
    pub(crate) fn new(file: File, secret: Option<Secret>) -> io::Result<Sink> {
        let Some(secret) = secret else { return Ok(Sink::Plain(file)) };
        let writer = age::Encryptor::with_user_passphrase(secret).wrap_output(file)?;
        Ok(Sink::Sealed(Box::new(writer)))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.write_all(bytes),
            Sink::Sealed(writer) => writer.write_all(bytes),
        }
    }

    /// All of it is on disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.sync_all(),
            Sink::Sealed(writer) => writer.finish()?.sync_all(),
        }
    }
}

/// A file that is read, decrypted if need be.
pub(crate) type Source = Box<dyn Read>;

/// Opens a file; whether it is encrypted is seen from how it begins.
///
/// # Errors
/// When it is encrypted and the passphrase is missing or wrong.
pub(crate) fn open(path: &Path, secret: Option<Secret>) -> io::Result<Source> {
    let mut file = File::open(path)?;
    let mut begin = Vec::new();
    Read::by_ref(&mut file).take(MARK.len() as u64).read_to_end(&mut begin)?;
    file.rewind()?;
    if begin != MARK {
        return Ok(Box::new(BufReader::new(file)));
    }
    let secret =
        secret.ok_or_else(|| io::Error::other("it is encrypted; name its passphrase with --passphrase-file"))?;
    let decryptor = age::Decryptor::new_buffered(BufReader::new(file)).map_err(io::Error::other)?;
    let identity = age::scrypt::Identity::new(secret);
    let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let wrong = |error| io::Error::other(format!("{error}; the passphrase is wrong, or the file is damaged"));
    Ok(Box::new(BufReader::new(reader.map_err(wrong)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sealed");
        let secret = |text: &str| Some(SecretString::from(text.to_owned()));
        let mut sink = Sink::new(File::create(&path).expect("created"), secret("right")).expect("a sink");
        sink.write(b"state").expect("written");
        sink.finish().expect("finished");
        let read = |secret| {
            let mut text = String::new();
            open(&path, secret).and_then(|mut source| source.read_to_string(&mut text)).map(|_| text)
        };
        assert_eq!(read(secret("right")).expect("opens"), "state");
        assert!(read(secret("wrong")).expect_err("refused").to_string().contains("passphrase is wrong"));
        assert!(read(None).expect_err("refused").to_string().contains("--passphrase-file"));
        let mut bytes = std::fs::read(&path).expect("bytes");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&path, bytes).expect("written");
        assert!(read(secret("right")).is_err(), "a flipped bit is found");
    }
}
