//! Who gets in with which certificate, and what changes when files do.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn files(&self, dir: &Path, name: &str, host: &str, number: u64) -> TlsFiles {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(number));
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        let place = |what: &str| dir.join(format!("{name}-{what}.pem"));
        fs::write(place("cert"), cert.pem()).expect("written");
        fs::write(place("key"), key.serialize_pem()).expect("written");
        fs::write(place("ca"), &self.pem).expect("written");
        TlsFiles { cert: place("cert"), key: place("key"), trusted_ca: Some(place("ca")), ..TlsFiles::default() }
    }

    fn revocations(&self, number: u64) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(number),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("signed").pem().expect("text")
    }
}

/// Whether both sides come to terms, and a word gets through.
async fn meet(listening: &TlsAcceptor, dialling: &TlsConnector, host: &str) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(host.to_owned()).expect("a host");
    let dial = async {
        let mut stream = dialling.connect(name, near).await?;
        stream.write_all(b"word").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await
    };
    let listen = async {
        let mut stream = listening.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await
    };
    let (dialled, listened) = tokio::join!(dial, listen);
    dialled.is_ok() && listened.is_ok()
}

#[tokio::test]
async fn both_sides_want_a_certificate_of_the_authority_for_the_host_dialled() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (a, b) = (ours.files(dir.path(), "a", "localhost", 1), ours.files(dir.path(), "b", "127.0.0.1", 2));
    let stranger = theirs.files(dir.path(), "c", "localhost", 3);
    let stranger = TlsFiles { trusted_ca: a.trusted_ca.clone(), ..stranger };
    let listening = acceptor(&a).expect("files");
    assert!(meet(&listening, &connector(&b).expect("files"), "localhost").await);
    assert!(!meet(&listening, &connector(&b).expect("files"), "elsewhere").await, "a's certificate is for localhost");
    assert!(!meet(&listening, &connector(&stranger).expect("files"), "localhost").await, "of another authority");
    let unverified = TlsFiles { unverified: true, ..b };
    assert!(meet(&listening, &connector(&unverified).expect("files"), "elsewhere").await, "whoever it is");
}

#[tokio::test]
async fn names_and_revocations_keep_out_and_changed_files_count_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (a, b) = (authority.files(dir.path(), "a", "localhost", 1), authority.files(dir.path(), "b", "localhost", 2));
    let dialling = connector(&b).expect("files");
    let lets = async |files: TlsFiles| meet(&acceptor(&files).expect("files"), &dialling, "localhost").await;
    assert!(lets(TlsFiles { allowed_cns: vec!["x".to_owned(), "b".to_owned()], ..a.clone() }).await);
    assert!(!lets(TlsFiles { allowed_cns: vec!["x".to_owned()], ..a.clone() }).await);
    assert!(lets(TlsFiles { allowed_hostnames: vec!["localhost".to_owned()], ..a.clone() }).await);
    assert!(!lets(TlsFiles { allowed_hostnames: vec!["elsewhere".to_owned()], ..a.clone() }).await);

    let crl = dir.path().join("crl");
    fs::write(&crl, authority.revocations(7)).expect("written");
    let listening = acceptor(&TlsFiles { crl: Some(crl.clone()), ..a.clone() }).expect("files");
    assert!(meet(&listening, &dialling, "localhost").await);
    fs::write(&crl, authority.revocations(2) + "\n").expect("written");
    assert!(!meet(&listening, &dialling, "localhost").await, "b is revoked");

    // Another authority signs everyone anew, while both ends live.
    let listening = acceptor(&a).expect("files");
    let next = Authority::new();
    next.files(dir.path(), "a", "localhost", 100_001);
    assert!(!meet(&listening, &dialling, "localhost").await, "b still trusts the old one");
    next.files(dir.path(), "b", "localhost", 100_002);
    assert!(meet(&listening, &dialling, "localhost").await);
    fs::write(&a.cert, "half a certifi").expect("written");
    assert!(meet(&listening, &dialling, "localhost").await, "what cannot be read changes nothing");
}

#[tokio::test]
async fn certificates_that_nobody_signed_are_made_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let make = || self_signed(dir.path(), &["127.0.0.1".to_owned()], std::time::Duration::from_secs(3600));
    let files = make().expect("made");
    let text = fs::read_to_string(&files.cert).expect("there");
    assert_eq!(make().expect("kept"), files);
    assert_eq!(fs::read_to_string(&files.cert).expect("there"), text);
    let (listening, dialling) = (acceptor(&files).expect("files"), connector(&files).expect("files"));
    assert!(meet(&listening, &dialling, "127.0.0.1").await);
}
