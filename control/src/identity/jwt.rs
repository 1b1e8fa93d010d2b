//! JSON Web Tokens in their compact form (RFC 7519; RFC 7515, 7.1), signed by the cluster's key and read back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::pki::Error;
use crate::pki::signing::{ALGORITHM, SigningKey};

/// A token at most. Units: bytes.
const BYTES_MAX: usize = 16 << 10;

/// The token that makes these claims.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(key: &SigningKey, claims: &impl Serialize) -> Result<String, Error> {
    let header = json!({ "alg": ALGORITHM, "kid": key.id() }).to_string();
    let claims = serde_json::to_vec(claims).expect("claims are plain data");
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The claims of a token; none unless the key signed exactly these.
pub fn read<T: DeserializeOwned>(key: &SigningKey, token: &str) -> Option<T> {
    if token.len() > BYTES_MAX {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    if !key.made(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?) {
        return None;
    }
    let (_, claims) = message.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::signing;
    use serde_json::Value;

    fn key() -> SigningKey {
        SigningKey::read(&signing::generate().expect("made")).expect("read")
    }

    #[test]
    fn claims_come_back_and_nothing_altered_does() {
        let (key, claims) = (key(), json!({ "sub": "a" }));
        let token = sign(&key, &claims).expect("signed");
        assert_eq!(read::<Value>(&key, &token), Some(claims));
        assert_eq!(read::<Value>(&self::key(), &token), None);
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'Q' } else { b'A' };
            assert_eq!(read::<Value>(&key, &String::from_utf8(altered).expect("ASCII")), None, "{at}");
        }
        for wrong in ["", ".", "..", "a.b.c", &token[..token.len() - 1], &token.replace('.', "")] {
            assert_eq!(read::<Value>(&key, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_cannot_choose_how_it_is_checked() {
        let (key, claims) = (key(), URL_SAFE_NO_PAD.encode(r#"{"sub":"a"}"#));
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#] {
            let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(read::<Value>(&key, &format!("{message}.")), None);
        }
    }
}
