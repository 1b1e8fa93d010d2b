//! JSON Web Tokens in their compact form (RFC 7519; RFC 7515, 7.1) that name a user and the auth store's revision.
//!
//! Source: etcd `server/auth/jwt.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::command::Caller;
use serde::{Deserialize, Serialize};

use super::duration;
use super::key::{Files, Key};

/// A token at most. Units: bytes.
const BYTES_MAX: usize = 16 << 10;

/// A key with the method that it is used by.
#[derive(Debug)]
pub struct Jwt {
    method: String,
    key: Key,
    ttl: Duration,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    typ: String,
}

/// In the order in which Go writes them.
#[derive(Serialize)]
struct Claims<'a> {
    exp: u64,
    revision: u64,
    username: &'a str,
}

/// What a token must say, and may.
#[derive(Deserialize)]
struct Said {
    username: String,
    revision: f64,
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Jwt {
    /// From options and the files that they name.
    pub(super) fn open(options: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let option = |name| options.get(name).copied().filter(|value: &&str| !value.is_empty());
        let file = |name| {
            let read = |path| std::fs::read(path).map_err(|error| format!("--auth-token: {name} {path}: {error}"));
            option(name).map_or(Ok(Vec::new()), read)
        };
        let ttl = match option("ttl") {
            Some(text) => duration(text).ok_or_else(|| format!("--auth-token: ttl {text:?} is not a time"))?,
            None => super::TTL,
        };
        for name in options.keys().filter(|name| !["pub-key", "priv-key", "sign-method", "ttl"].contains(name)) {
            tracing::warn!(name, "--auth-token: jwt has no such option");
        }
        let files = Files { public: file("pub-key")?, private: file("priv-key")? };
        Self::with(option("sign-method").unwrap_or_default(), &files, ttl)
    }

    fn with(method: &str, files: &Files, ttl: Duration) -> Result<Self, String> {
        Ok(Jwt { method: method.to_owned(), key: Key::read(method, files)?, ttl })
    }

    /// A token for a user, from a time on.
    pub(super) fn sign(&self, caller: &Caller, now: u64) -> Result<String, &'static str> {
        let sign = self.key.sign.as_ref().ok_or("auth: token signing attempted with verify-only key")?;
        let header = Header { alg: self.method.clone(), typ: "JWT".to_owned() };
        let exp = now.saturating_add(self.ttl.as_secs());
        let claims = Claims { exp, revision: caller.auth_revision, username: &caller.user };
        let part = |json: Result<Vec<u8>, serde_json::Error>| URL_SAFE_NO_PAD.encode(json.expect("plain data"));
        let message = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(&claims)));
        let signature = sign(message.as_bytes()).ok_or("auth: the token cannot be signed")?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whom a token names; none unless the key signed exactly this, and it holds at a time.
    pub(crate) fn read(&self, token: &str, now: u64) -> Option<Caller> {
        if token.len() > BYTES_MAX {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        // The member says how tokens are signed, never the token.
        if header.alg != self.method {
            return None;
        }
        if !(self.key.verify)(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?) {
            return None;
        }
        let said: Said = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "JSON's numbers: exact for longer than there will be seconds")]
        let now = now as f64;
        if said.exp.is_some_and(|end| now >= end) || said.nbf.is_some_and(|start| now < start) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as etcd takes it")]
        Some(Caller { user: said.username, auth_revision: said.revision as u64 })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const METHODS: [&str; 13] = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
        "EdDSA",
    ];

    fn pair(method: &str) -> KeyPair {
        let algorithm = match method {
            "ES256" => &rcgen::PKCS_ECDSA_P256_SHA256,
            "ES384" => &rcgen::PKCS_ECDSA_P384_SHA384,
            "ES512" => &rcgen::PKCS_ECDSA_P521_SHA512,
            "EdDSA" => &rcgen::PKCS_ED25519,
            _ => {
                use aws_lc_rs::encoding::Pkcs8V1Der;
                let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("made");
                let der: Pkcs8V1Der<'_> = key.as_der().expect("encoded");
                let der = rustls::pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
                return KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).expect("read");
            }
        };
        KeyPair::generate_for(algorithm).expect("made")
    }

    fn files(method: &str) -> Files {
        let pair = pair(method);
        Files { public: pair.public_key_pem().into_bytes(), private: pair.serialize_pem().into_bytes() }
    }

    fn jwt(method: &str, files: &Files) -> Jwt {
        Jwt::with(method, files, Duration::from_secs(60)).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    fn caller() -> Caller {
        Caller { user: "a".to_owned(), auth_revision: 7 }
    }

    #[test]
    fn every_method_signs_and_knows_what_it_signed() {
        for method in METHODS {
            let (files, others) = (files(method), files(method));
            let jwt = jwt(method, &files);
            let token = jwt.sign(&caller(), 1000).expect("signed");
            assert_eq!(jwt.read(&token, 1059), Some(caller()), "{method}");
            assert_eq!(jwt.read(&token, 1060), None, "{method}: it has ended");
            assert_eq!(self::jwt(method, &others).read(&token, 1000), None, "{method}: another key");
            for at in (0..token.len()).step_by(7) {
                let mut altered = token.clone().into_bytes();
                altered[at] = if altered[at] == b'A' { b'Q' } else { b'A' };
                assert_eq!(jwt.read(&String::from_utf8(altered).expect("ASCII"), 1000), None, "{method} {at}");
            }
        }
    }

    #[test]
    fn a_public_key_alone_checks_and_does_not_sign() {
        for method in METHODS.into_iter().filter(|method| !method.starts_with("HS")) {
            let pair = pair(method);
            let private = jwt(method, &Files { private: pair.serialize_pem().into_bytes(), ..Files::default() });
            let token = private.sign(&caller(), 1000).expect("signed");
            let certificate = CertificateParams::new(Vec::new()).expect("no names").self_signed(&pair).expect("made");
            for public in [pair.public_key_pem(), certificate.pem()] {
                let public = jwt(method, &Files { public: public.into_bytes(), ..Files::default() });
                assert_eq!(public.read(&token, 1000), Some(caller()), "{method}");
                assert!(public.sign(&caller(), 1000).is_err(), "{method}");
            }
        }
    }

    #[test]
    fn keys_must_fit() {
        let (one, other) = (files("ES256"), files("ES256"));
        let torn = Files { public: other.public, private: one.private };
        let refused = |method: &str, files: &Files| Jwt::with(method, files, Duration::ZERO).expect_err("refused");
        assert!(refused("ES256", &torn).contains("not a pair"));
        assert!(refused("ES384", &files("ES256")).contains("holds no key"));
        assert!(refused("RS256", &files("ES256")).contains("holds no key"));
        assert!(refused("RS256", &Files::default()).contains("needs"));
        assert!(refused("none", &files("ES256")).contains("no sign-method"));
        let junk = Files { private: b"junk".to_vec(), ..Files::default() };
        assert!(!refused("RS256", &junk).contains("junk"), "a key is never quoted");
    }

    #[test]
    fn a_token_cannot_choose_how_it_is_checked() {
        let files = files("RS256");
        let jwt = jwt("RS256", &files);
        // Signed with what everybody knows.
        let forged = self::jwt("HS256", &Files { private: files.public.clone(), ..Files::default() });
        assert_eq!(jwt.read(&forged.sign(&caller(), 1000).expect("signed"), 1000), None);
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let none = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"username":"a","revision":7}"#));
        assert_eq!(jwt.read(&none, 1000), None);
        for wrong in ["", ".", "..", "a.b.c"] {
            assert_eq!(jwt.read(wrong, 1000), None, "{wrong}");
        }
    }

    #[test]
    fn tokens_of_any_bytes_name_nobody() {
        let jwt = jwt("HS256", &Files { private: b"a secret that is long enough".to_vec(), ..Files::default() });
        let token = jwt.sign(&caller(), 1000).expect("signed");
        let claims = br#"{"username":"a","revision":1e3,"exp":5000,"nbf":-1.5,"x":[]}"#.to_vec();
        crate::fuzz::bear("jwt", vec![token.clone().into_bytes(), claims], |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let named = jwt.read(&text, 1000);
            assert!(named.is_none() || text == token, "only what was signed");
            // With a signature that holds, over claims of any bytes.
            let message = format!("{}.{}", token.split('.').next().expect("a header"), URL_SAFE_NO_PAD.encode(bytes));
            let signature = (jwt.key.sign.as_ref().expect("a key"))(message.as_bytes()).expect("signed");
            let claimed = jwt.read(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)), 1000);
            format!("{} {}", named.is_some(), claimed.is_some())
        });
    }
}
