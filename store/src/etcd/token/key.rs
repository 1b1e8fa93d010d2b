//! Keys that sign tokens and check signatures, by the names that RFC 7518 (3.1) and RFC 8037 give to methods.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, ParsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm};
use aws_lc_rs::signature::{RsaEncoding, RsaKeyPair, RsaParameters};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;

type Sign = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// A key and what is done with it.
pub(super) struct Key {
    /// None where only a public key is known.
    pub(super) sign: Option<Sign>,
    /// Whether a signature is that of a message.
    pub(super) verify: Verify,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// The texts of key files, empty where none is given.
#[derive(Default)]
pub(super) struct Files {
    pub(super) public: Vec<u8>,
    pub(super) private: Vec<u8>,
}

/// A private key's function, and its public key.
type Pair = (Sign, Vec<u8>);

impl Key {
    /// For a method.
    ///
    /// # Errors
    /// When there is no such method, or the files hold no key for it; the text says why.
    pub(super) fn read(method: &str, files: &Files) -> Result<Self, String> {
        match method {
            "HS256" => keyed(hmac::HMAC_SHA256, files),
            "HS384" => keyed(hmac::HMAC_SHA384, files),
            "HS512" => keyed(hmac::HMAC_SHA512, files),
            "RS256" => rsa(files, &signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa(files, &signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa(files, &signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => rsa(files, &signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => rsa(files, &signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => rsa(files, &signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => ec(files, &signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => ec(files, &signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED),
            "ES512" => ec(files, &signature::ECDSA_P521_SHA512_FIXED_SIGNING, &signature::ECDSA_P521_SHA512_FIXED),
            "EdDSA" => asymmetric(files, &signature::ED25519, ed25519),
            "" => Err("--auth-token: jwt needs sign-method".to_owned()),
            other => Err(format!("--auth-token: there is no sign-method {other:?}")),
        }
    }
}

/// The whole private file is the key, as etcd takes it.
fn keyed(algorithm: hmac::Algorithm, files: &Files) -> Result<Key, String> {
    if files.private.is_empty() {
        return Err("--auth-token: this sign-method needs priv-key".to_owned());
    }
    let key = hmac::Key::new(algorithm, &files.private);
    let check = key.clone();
    Ok(Key {
        sign: Some(Box::new(move |message| Some(hmac::sign(&key, message).as_ref().to_vec()))),
        verify: Box::new(move |message, signature| hmac::verify(&check, message, signature).is_ok()),
    })
}

fn rsa(files: &Files, encoding: &'static dyn RsaEncoding, algorithm: &'static RsaParameters) -> Result<Key, String> {
    asymmetric(files, algorithm, |key| {
        let pair = match key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok()?,
            _ => return None,
        };
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?.as_ref().to_vec();
        let sign: Sign = Box::new(move |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message, &mut signature).ok()?;
            Some(signature)
        });
        Some((sign, public))
    })
}

fn ec(
    files: &Files,
    signing: &'static EcdsaSigningAlgorithm,
    algorithm: &'static EcdsaVerificationAlgorithm,
) -> Result<Key, String> {
    asymmetric(files, algorithm, |key| {
        let pair = EcdsaKeyPair::from_private_key_der(signing, key.secret_der()).ok()?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?.as_ref().to_vec();
        let sign: Sign =
            Box::new(move |message| Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()));
        Some((sign, public))
    })
}

fn ed25519(key: &PrivateKeyDer<'_>) -> Option<Pair> {
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_der()).ok()?;
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?.as_ref().to_vec();
    let sign: Sign = Box::new(move |message| Some(pair.sign(message).as_ref().to_vec()));
    Some((sign, public))
}

fn asymmetric(
    files: &Files,
    algorithm: &'static dyn VerificationAlgorithm,
    read: impl Fn(&PrivateKeyDer<'_>) -> Option<Pair>,
) -> Result<Key, String> {
    let unfit = |name: &str| format!("--auth-token: {name} holds no key for this sign-method");
    let mut pair = None;
    if !files.private.is_empty() {
        // The parser's error could quote the key: it is not passed on.
        let key = PrivateKeyDer::from_pem_slice(&files.private).map_err(|_| unfit("priv-key"))?;
        pair = Some(read(&key).ok_or_else(|| unfit("priv-key"))?);
    }
    let mut public = None;
    if !files.public.is_empty() {
        public = Some(public_key(&files.public).ok_or_else(|| unfit("pub-key"))?);
    }
    let (sign, own) = pair.map_or((None, None), |(sign, own)| (Some(sign), Some(own)));
    if let (Some(own), Some(public)) = (&own, &public)
        && own != public
    {
        return Err("--auth-token: pub-key and priv-key are not a pair".to_owned());
    }
    let public = own.or(public).ok_or("--auth-token: this sign-method needs pub-key or priv-key")?;
    let public = ParsedPublicKey::new(algorithm, public).map_err(|_| unfit("pub-key"))?;
    Ok(Key { sign, verify: Box::new(move |message, signature| public.verify_sig(message, signature).is_ok()) })
}

/// A public key, alone or in a certificate, as a `SubjectPublicKeyInfo`.
fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        return Some(key.to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    Some(ParsedCertificate::try_from(&certificate).ok()?.subject_public_key_info().to_vec())
}
