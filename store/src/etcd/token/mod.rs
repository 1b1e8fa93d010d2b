//! How clients prove who they are: tokens that the log gives out, or signed ones that any member can check alone.
//!
//! Source: etcd `server/auth/store.go` (`NewTokenProvider`) and `server/auth/options.go`.

mod jwt;
mod key;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::command::Caller;

use jwt::Jwt;

/// Costs that bcrypt knows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// The cost where another is not allowed.
const COST: u32 = 10;
/// How long tokens hold, unless told otherwise.
const TTL: Duration = Duration::from_secs(300);

/// How users are known (`--auth-token`, `--auth-token-ttl`, `--bcrypt-cost`).
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// What proves who a client is.
    pub tokens: Tokens,
    /// How long a simple token holds after its last use.
    pub token_ttl: Duration,
    /// What hashing a password costs: its work doubles with each.
    pub bcrypt_cost: u32,
}

impl Default for AuthOptions {
    fn default() -> Self {
        AuthOptions { tokens: Tokens::Simple, token_ttl: TTL, bcrypt_cost: COST }
    }
}

impl AuthOptions {
    /// From flags. A cost that bcrypt does not know becomes the default, as etcd does it; so does no time to live.
    ///
    /// # Errors
    /// When the tokens' options cannot be used; the text says why.
    pub fn parse(tokens: &str, token_ttl: Duration, bcrypt_cost: u32) -> Result<Self, String> {
        let bcrypt_cost = if COSTS.contains(&bcrypt_cost) { bcrypt_cost } else { COST };
        let token_ttl = if token_ttl.is_zero() { TTL } else { token_ttl };
        Ok(AuthOptions { tokens: Tokens::parse(tokens)?, token_ttl, bcrypt_cost })
    }
}

/// What proves who a client is.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// Nothing but certificates.
    None,
    /// Random words, known to every member.
    Simple,
    /// JSON Web Tokens.
    Jwt(Arc<Jwt>),
}

impl Tokens {
    /// Reads `simple`, or `jwt,pub-key=FILE,priv-key=FILE,sign-method=METHOD,ttl=TIME`, with the files that it names.
    ///
    /// # Errors
    /// When it cannot be used; the text says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| format!("--auth-token: {part:?} is not NAME=VALUE"))?;
            if options.insert(name, value).is_some() {
                return Err(format!("--auth-token: {name:?} is given twice"));
            }
        }
        match kind {
            "" => Ok(Tokens::None),
            "simple" => Ok(Tokens::Simple),
            "jwt" => Jwt::open(&options).map(|jwt| Tokens::Jwt(Arc::new(jwt))),
            other => Err(format!("--auth-token: there are no tokens of the kind {other:?}; use simple or jwt")),
        }
    }

    /// What a token of the log's begins with: 16 letters; nothing where tokens are signed.
    pub(super) fn prefix(&self) -> Result<String, crate::Error> {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut prefix = String::new();
        while matches!(self, Tokens::Simple) && prefix.len() < 16 {
            // Bytes above the last multiple are left out: each letter is as likely as any other.
            let bytes = crate::store::random()?.to_be_bytes();
            let fair = bytes.iter().filter(|byte| usize::from(**byte) < 256 / LETTERS.len() * LETTERS.len());
            let letters = fair.map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
            prefix.extend(letters.take(16 - prefix.len()));
        }
        Ok(prefix)
    }

    /// A signed token for a user.
    ///
    /// # Errors
    /// When this member can only check signatures, in etcd's words; none where users have no tokens.
    pub(super) fn sign(&self, caller: &Caller) -> Option<Result<String, &'static str>> {
        match self {
            Tokens::Jwt(jwt) => Some(jwt.sign(caller, now())),
            Tokens::None | Tokens::Simple => None,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as Go writes it: `1h30m`, `1.5s`, `300ms`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() || seconds == 0.0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, size) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * size;
        rest = &after[unit.len()..];
        if rest.is_empty() {
            break;
        }
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, millis) in [("5m", 300_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("10ms", 10), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5x", "5m5", "1..2s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn prefixes_are_sixteen_letters_and_never_the_same() {
        let prefix = || Tokens::Simple.prefix().expect("random");
        let (one, other) = (prefix(), prefix());
        assert!(one.len() == 16 && one.chars().all(|letter| letter.is_ascii_alphabetic()), "{one}");
        assert_ne!(one, other);
        assert_eq!(Tokens::None.prefix().expect("nothing"), "");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert!(matches!(Tokens::parse("simple"), Ok(Tokens::Simple)));
        assert!(matches!(Tokens::parse(""), Ok(Tokens::None)));
        for text in ["basic", "jwt", "jwt,sign-method=RS256", "jwt,sign-method", "jwt,ttl=1s,ttl=2s", "jwt,a=b=c"] {
            assert!(Tokens::parse(text).is_err(), "{text}");
        }
        assert_eq!(AuthOptions::parse("simple", Duration::ZERO, 3).expect("read").bcrypt_cost, 10);
    }
}
