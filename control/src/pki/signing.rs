//! The key that signs service-account tokens: ECDSA over P-256 with SHA-256, which JWS calls `ES256` (RFC 7518, 3.4).
//!
//! The algorithm belongs to the key: what a token claims about its own algorithm is never looked at to choose one.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::pki::Error;

/// JWS' name of the algorithm.
pub const ALGORITHM: &str = "ES256";

/// One signing key of the cluster.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A new key, as PEM (PKCS #8).
///
/// # Errors
/// When the system gives no random numbers.
pub fn generate() -> Result<String, Error> {
    Ok(rcgen::KeyPair::generate()?.serialize_pem())
}

impl SigningKey {
    /// Reads a key. Its id is the hash of its public part, as Kubernetes names signing keys.
    ///
    /// # Errors
    /// When the text is no such key.
    pub fn read(pem: &str) -> Result<SigningKey, Error> {
        let unreadable = || Error::Certificate(rcgen::Error::CouldNotParseKeyPair);
        let PrivateKeyDer::Pkcs8(der) = store::pem::key(pem, "the signing").map_err(|_| unreadable())? else {
            return Err(unreadable());
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der());
        let pair = pair.map_err(|_| unreadable())?;
        let public = pair.public_key().as_der().map_err(|_| unreadable())?;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public.as_ref());
        Ok(SigningKey { id: URL_SAFE_NO_PAD.encode(hash), pair })
    }

    /// Names the key in tokens (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A signature of 64 bytes.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| rcgen::Error::RingUnspecified)?.as_ref().to_vec())
    }

    /// Whether this key made the signature.
    pub fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(message, signature)
            .is_ok()
    }

    /// The public part as a JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> Value {
        // An uncompressed point: 4, then x and y of 32 bytes each (SEC 1, 2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        json!({ "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM, "x": encode(x), "y": encode(y) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_own_signatures_and_is_the_same_when_it_is_read_again() {
        let pem = generate().expect("made");
        let (key, again) = (SigningKey::read(&pem).expect("read"), SigningKey::read(&pem).expect("read"));
        let signature = key.sign(b"a").expect("signed");
        assert_eq!((signature.len(), key.id()), (64, again.id()));
        assert!(again.made(b"a", &signature) && !again.made(b"b", &signature));
        let other = SigningKey::read(&generate().expect("made")).expect("read");
        assert!(!other.made(b"a", &signature) && other.id() != key.id());
        assert!(SigningKey::read("x").is_err());
        assert!(!format!("{key:?}").contains("PRIVATE") && key.jwk()["x"].as_str().map(str::len) == Some(43));
    }
}
