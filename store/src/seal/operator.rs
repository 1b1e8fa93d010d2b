//! PURE: the operator's keys, as files hold them, and made of passphrases.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use scrypt::Params;
use zeroize::Zeroizing;

use crate::seal::unit::{Secret, aes};

/// Keys or passphrases in a file at most.
const MOST: usize = 16;

/// How a passphrase becomes a key: scrypt (RFC 7914), with 32 MiB and thrice the work of its smallest setting for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Of the cost, its logarithm.
    pub(super) log_n: u8,
    /// The block size.
    pub(super) r: u8,
    /// How often.
    pub(super) p: u8,
    /// Random.
    pub(super) salt: [u8; 16],
}

impl Stretch {
    /// What is written.
    pub(super) fn new(salt: [u8; 16]) -> Self {
        Stretch { log_n: 15, r: 8, p: 3, salt }
    }

    /// Whether it is a work that can be borne: it may come from a damaged file.
    pub(super) fn bearable(&self) -> bool {
        (10..=18).contains(&self.log_n) && self.r == 8 && (1..=8).contains(&self.p)
    }
}

/// A key of the operator's.
#[derive(Clone)]
pub(super) struct OperatorKey {
    pub(super) secret: Secret,
    /// How it was made of a passphrase; absent where it is the key itself.
    pub(super) stretch: Option<Stretch>,
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorKey({:016x})", u64::from_be_bytes(self.name()))
    }
}

impl OperatorKey {
    /// Tells keys apart without telling anything of them.
    pub(super) fn name(&self) -> [u8; 8] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret[..]);
        hmac::sign(&key, b"raftsman operator key v1").as_ref()[..8].try_into().expect("eight of 32 bytes")
    }

    /// What wraps data keys.
    pub(super) fn cipher(&self) -> aws_lc_rs::aead::LessSafeKey {
        aes(&self.secret)
    }
}

/// The keys of a key file: 32 bytes as they are, or lines of 256 bits in base64 or hexadecimal each.
///
/// # Errors
/// What is wrong with it; never what is in it.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<OperatorKey>, String> {
    let key = |secret| OperatorKey { secret, stretch: None };
    if let Ok(secret) = <[u8; 32]>::try_from(bytes) {
        return Ok(vec![key(Secret::new(secret))]);
    }
    let wanted = "a key file holds 32 bytes, or lines of 256 bits in base64 or hexadecimal each";
    let text = std::str::from_utf8(bytes).map_err(|_| wanted.to_owned())?;
    let parse = |(number, line): (usize, &str)| {
        let secret = secret(line).ok_or_else(|| format!("line {}: no key of 256 bits; {wanted}", number + 1))?;
        Ok(key(secret))
    };
    let found = lines(text).map(parse).collect::<Result<Vec<_>, String>>()?;
    counted(found, wanted)
}

/// The passphrases of a passphrase file, one a line.
///
/// # Errors
/// What is wrong with it; never what is in it.
pub(super) fn passphrases(bytes: &[u8]) -> Result<Vec<Zeroizing<String>>, String> {
    let wanted = "a passphrase file holds a passphrase a line";
    let text = std::str::from_utf8(bytes).map_err(|_| format!("no text; {wanted}"))?;
    counted(lines(text).map(|(_, line)| Zeroizing::new(line.to_owned())).collect(), wanted)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().map(|line| line.trim_end_matches('\r')).enumerate().filter(|(_, line)| !line.is_empty())
}

fn counted<T>(found: Vec<T>, wanted: &str) -> Result<Vec<T>, String> {
    match found.len() {
        0 => Err(format!("it is empty; {wanted}")),
        1..=MOST => Ok(found),
        more => Err(format!("it holds {more}, and {MOST} at most are looked at")),
    }
}

fn secret(line: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    if line.len() == 64 {
        for (byte, pair) in secret.iter_mut().zip(line.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        return Some(secret);
    }
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(line.trim()).ok()?);
    secret.copy_from_slice(Some(&bytes[..]).filter(|bytes| bytes.len() == 32)?);
    Some(secret)
}

/// The key that a passphrase makes; a second of work.
///
/// # Errors
/// When the work is none that scrypt knows.
pub(super) fn stretch(passphrase: &str, stretch: Stretch) -> Result<OperatorKey, String> {
    let params = Params::new(stretch.log_n, u32::from(stretch.r), u32::from(stretch.p), 32);
    let params = params.map_err(|error| error.to_string())?;
    let mut secret = Secret::default();
    scrypt::scrypt(passphrase.as_bytes(), &stretch.salt, &params, &mut secret[..])
        .map_err(|error| error.to_string())?;
    Ok(OperatorKey { secret, stretch: Some(stretch) })
}
