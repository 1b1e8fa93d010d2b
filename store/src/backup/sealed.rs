//! What is encrypted in the format of age (age-encryption.org/v1), with a passphrase or for public keys, and what is not.

use std::fmt::Display;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;

/// What an encrypted file begins with.
const MARK: &[u8] = b"age-encryption.org/v1";

/// What closes a file.
#[derive(Clone, Default)]
pub enum Lock {
    /// Nothing.
    #[default]
    None,
    /// A passphrase: deriving a key from it takes a second.
    Passphrase(SecretString),
    /// Public keys; who wrote the file cannot read it.
    Recipients(Vec<x25519::Recipient>),
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Lock {
    /// Of the first line of a file, or of public keys (`age1…`).
    ///
    /// # Errors
    /// When the file cannot be read, or a key is none.
    pub fn new(passphrase: Option<&Path>, recipients: &[String]) -> Result<Self, String> {
        if let Some(file) = passphrase {
            return first_line(file).map(Lock::Passphrase);
        }
        let parse =
            |text: &String| text.trim().parse().map_err(|why| format!("{text:?} is no public key of age: {why}"));
        let recipients = recipients.iter().map(parse).collect::<Result<Vec<x25519::Recipient>, String>>()?;
        Ok(if recipients.is_empty() { Lock::None } else { Lock::Recipients(recipients) })
    }

    /// The same, with what opens it: a key of this moment where it is for the public keys of others, who can read it alone
    /// once that is forgotten.
    pub fn checkable(&self) -> (Lock, Keys) {
        match self {
            Lock::None => (Lock::None, Keys::default()),
            Lock::Passphrase(secret) => (self.clone(), Keys { passphrase: Some(secret.clone()), ..Keys::default() }),
            Lock::Recipients(keys) => {
                let own = x25519::Identity::generate();
                let keys = keys.iter().cloned().chain([own.to_public()]).collect();
                (Lock::Recipients(keys), Keys { identities: vec![own], ..Keys::default() })
            }
        }
    }

    /// Something that is written.
    ///
    /// # Errors
    /// When the sink refuses.
    pub fn wrap<W: Write>(&self, sink: W) -> io::Result<Sink<W>> {
        let encryptor = match self {
            Lock::None => return Ok(Sink::Plain(sink)),
            Lock::Passphrase(secret) => age::Encryptor::with_user_passphrase(secret.clone()),
            Lock::Recipients(keys) => {
                let keys = keys.iter().map(|key| key as &dyn age::Recipient);
                age::Encryptor::with_recipients(keys).map_err(io::Error::other)?
            }
        };
        Ok(Sink::Sealed(Box::new(encryptor.wrap_output(sink)?)))
    }
}

/// What opens files.
#[derive(Clone, Default)]
pub struct Keys {
    passphrase: Option<SecretString>,
    identities: Vec<x25519::Identity>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// A passphrase, the first line of a file, and the secret keys (`AGE-SECRET-KEY-1…`) that are lines of another.
    ///
    /// # Errors
    /// When a file cannot be read, or holds none.
    pub fn new(passphrase: Option<&Path>, identities: Option<&Path>) -> Result<Self, String> {
        let passphrase = passphrase.map(first_line).transpose()?;
        let identities = identities.map(identities_of).transpose()?.unwrap_or_default();
        Ok(Keys { passphrase, identities })
    }
}

fn read(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(SecretString::from(text))
}

fn first_line(file: &Path) -> Result<SecretString, String> {
    let text = read(file)?;
    match text.expose_secret().lines().next().unwrap_or_default() {
        "" => Err(format!("{}: its first line is empty", file.display())),
        line => Ok(SecretString::from(line.to_owned())),
    }
}

fn identities_of(file: &Path) -> Result<Vec<x25519::Identity>, String> {
    let text = read(file)?;
    let lines = text.expose_secret().lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::parse);
    match keys.collect::<Result<Vec<_>, _>>() {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        // What is in it stays out of the message.
        _ => Err(format!("{}: its lines are no secret keys of age (AGE-SECRET-KEY-1…)", file.display())),
    }
}

/// Something that is being written.
pub enum Sink<W: Write> {
    /// As it is.
    Plain(W),
    /// Encrypted.
    Sealed(Box<age::stream::StreamWriter<W>>),
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(sink) => sink.write(bytes),
            Sink::Sealed(sink) => sink.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(sink) => sink.flush(),
            Sink::Sealed(sink) => sink.flush(),
        }
    }
}

impl<W: Write> Sink<W> {
    /// Ends it: without an end it does not open.
    ///
    /// # Errors
    /// When the sink refuses.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Sink::Plain(sink) => Ok(sink),
            Sink::Sealed(sink) => sink.finish(),
        }
    }
}

/// Whether something is encrypted, by how it begins.
///
/// # Errors
/// When it cannot be read.
pub fn is_sealed(source: impl Read) -> io::Result<bool> {
    let mut begin = Vec::new();
    source.take(MARK.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == MARK)
}

/// Something that is read, decrypted if need be.
pub type Source = Box<dyn Read + Send>;

/// Opens what may be encrypted; whether it is shows in how it begins.
///
/// # Errors
/// When it is, and no key opens it.
pub fn open(mut source: impl Read + Send + 'static, keys: &Keys) -> io::Result<Source> {
    let mut begin = Vec::new();
    Read::by_ref(&mut source).take(MARK.len() as u64).read_to_end(&mut begin)?;
    let encrypted = begin == MARK;
    let whole = BufReader::with_capacity(1 << 16, Cursor::new(begin).chain(source));
    if !encrypted {
        return Ok(Box::new(whole));
    }
    let wrong = |error: &dyn Display, hint: &str| io::Error::other(format!("{error}; {hint}"));
    let decryptor = age::Decryptor::new_buffered(whole).map_err(io::Error::other)?;
    if decryptor.is_scrypt() {
        let secret = keys.passphrase.clone();
        let missing = || io::Error::other("it is encrypted; name its passphrase with --passphrase-file");
        let identity = age::scrypt::Identity::new(secret.ok_or_else(missing)?);
        let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
        let hint = "the passphrase is wrong, or the file is damaged";
        return Ok(Box::new(BufReader::new(reader.map_err(|error| wrong(&error, hint))?)));
    }
    if keys.identities.is_empty() {
        return Err(io::Error::other("it is encrypted; name the file with its secret key with --identity-file"));
    }
    let reader = decryptor.decrypt(keys.identities.iter().map(|key| key as &dyn age::Identity));
    let hint = "it was encrypted for another key, or is damaged";
    Ok(Box::new(BufReader::new(reader.map_err(|error| wrong(&error, hint))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(lock: &Lock, text: &[u8]) -> Vec<u8> {
        let mut sink = lock.wrap(Vec::new()).expect("a sink");
        sink.write_all(text).expect("written");
        sink.finish().expect("finished")
    }

    fn opened(bytes: &[u8], keys: &Keys) -> io::Result<String> {
        let mut text = String::new();
        open(Cursor::new(bytes.to_vec()), keys)?.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone() {
        let keys = |text: &str| Keys { passphrase: Some(text.to_owned().into()), ..Keys::default() };
        let mut bytes = sealed(&Lock::Passphrase("right".to_owned().into()), b"state");
        assert!(is_sealed(&bytes[..]).expect("read") && !is_sealed(&b"age"[..]).expect("read"));
        assert_eq!(opened(&bytes, &keys("right")).expect("opens"), "state");
        assert!(opened(&bytes, &keys("wrong")).expect_err("refused").to_string().contains("passphrase is wrong"));
        assert!(opened(&bytes, &Keys::default()).expect_err("refused").to_string().contains("--passphrase-file"));
        *bytes.last_mut().expect("not empty") ^= 1;
        assert!(opened(&bytes, &keys("right")).is_err(), "a flipped bit is found");
        assert_eq!(opened(&sealed(&Lock::None, b"x"), &Keys::default()).expect("plain"), "x", "shorter than the mark");
    }

    #[test]
    fn what_is_sealed_for_a_key_opens_with_its_other_half_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key");
        let (mine, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        std::fs::write(&file, format!("# a comment\n{}\n", mine.to_string().expose_secret())).expect("written");
        let lock = Lock::new(None, &[mine.to_public().to_string()]).expect("a key");
        let bytes = sealed(&lock, b"state");
        assert_eq!(opened(&bytes, &Keys::new(None, Some(&file)).expect("a key")).expect("opens"), "state");
        let keys = Keys { identities: vec![other], ..Keys::default() };
        assert!(opened(&bytes, &keys).expect_err("refused").to_string().contains("another key"));
        assert!(opened(&bytes, &Keys::default()).expect_err("refused").to_string().contains("--identity-file"));
        assert!(Lock::new(None, &["age1nothing".to_owned()]).is_err());
    }
}
