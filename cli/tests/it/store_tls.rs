//! `raftsman store` over TLS: who is let in, and certificates that change while it runs.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::member::{Member, raw, text};

/// An authority, with its certificate in a file.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) path: PathBuf,
}

pub(crate) fn authority(dir: &Path, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let path = dir.join(format!("{name}.pem"));
    std::fs::write(&path, params.self_signed(&key).expect("signed").pem()).expect("written");
    Authority { issuer: Issuer::new(params, key), path }
}

/// Writes a certificate for loopback and its key; answers their paths.
pub(crate) fn pair(authority: &Authority, dir: &Path, file: &str, name: &str) -> (PathBuf, PathBuf) {
    pair_with(authority, dir, file, name, |_| {})
}

/// The same with something else about it.
pub(crate) fn pair_with(
    authority: &Authority,
    dir: &Path,
    file: &str,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let (cert, secret) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    std::fs::write(&cert, params.signed_by(&key, &authority.issuer).expect("signed").pem()).expect("written");
    std::fs::write(&secret, key.serialize_pem()).expect("written");
    (cert, secret)
}

/// Waits until a put succeeds: on a busy machine the first may take too long for etcdctl.
fn served(member: &Member, what: &str, trusted: &Path, own: Option<&(PathBuf, PathBuf)>) {
    member.until(what, || puts(member, trusted, own).0);
}

/// The flags of a member whose clients show certificates of an authority.
fn strict(member: &Member, authority: &Authority, (cert, key): &(PathBuf, PathBuf)) -> Vec<String> {
    let mut flags = member.flags("https");
    flags.extend([
        format!("--cert-file={}", cert.display()),
        format!("--key-file={}", key.display()),
        format!("--trusted-ca-file={}", authority.path.display()),
        "--client-cert-auth".to_owned(),
    ]);
    flags
}

/// Whether a put succeeds with an authority and, perhaps, a certificate of one's own.
fn puts(member: &Member, trusted: &Path, own: Option<&(PathBuf, PathBuf)>) -> (bool, String) {
    let shown = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let mut arguments = vec![shown("cacert", trusted), "--dial-timeout=2s".into(), "--command-timeout=2s".into()];
    arguments.extend(own.iter().flat_map(|(cert, key)| [shown("cert", cert), shown("key", key)]));
    arguments.extend(["put", "a", "1"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = member.etcdctl_over("https", &arguments);
    (output.status.success(), text(&output.stderr))
}

#[test]
fn clients_show_certificates_and_changed_ones_hold_at_once() {
    let mut member = Member::new();
    let dir = member.dir.path().to_owned();
    let (one, other) = (authority(&dir, "one"), authority(&dir, "other"));
    let own = pair(&one, &dir, "server", "server");
    let (client, stranger) = (pair(&one, &dir, "client", "alice"), pair(&other, &dir, "stranger", "alice"));
    let banned = pair(&one, &dir, "banned", "mallory");
    let mut flags = strict(&member, &one, &own);
    flags.extend(["--client-cert-allowed-cn=alice,bob", "--tls-min-version=TLS1.3"].map(str::to_owned));
    member.start(&flags);
    served(&member, "with a certificate", &one.path, Some(&client));
    assert!(!puts(&member, &one.path, None).0, "without a certificate");
    assert!(!puts(&member, &one.path, Some(&stranger)).0, "with one that another authority signed");
    assert!(!puts(&member, &one.path, Some(&banned)).0, "with a name that is not listed");
    assert!(!puts(&member, &other.path, Some(&client)).0, "the member's certificate is not the other authority's");

    pair(&other, &dir, "server", "server");
    served(&member, "the new certificate is shown", &other.path, Some(&client));
    assert!(!puts(&member, &one.path, Some(&client)).0, "and the old one no more");
    assert!(member.terminate());
}

#[test]
fn a_certificate_that_nobody_signed_is_made_once() {
    let mut member = Member::new();
    let mut flags = member.flags("https");
    flags.push("--auto-tls".to_owned());
    member.start(&flags);
    let made = member.data_dir().join("fixtures/client/cert.pem");
    let before = std::fs::read(&made).expect("made");
    served(&member, "with the certificate that was made", &made, None);
    assert!(member.terminate());
    member.start(&flags);
    assert_eq!(std::fs::read(&made).expect("kept"), before);
}

#[test]
fn who_is_not_let_in_is_told_why_and_so_is_the_operator() {
    let mut member = Member::new();
    let dir = member.dir.path().to_owned();
    let one = authority(&dir, "one");
    let own = pair(&one, &dir, "server", "server");
    let client = pair(&one, &dir, "client", "alice");
    let expired = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    };
    let late = pair_with(&one, &dir, "late", "alice", expired);
    member.start(strict(&member, &one, &own));
    let (status, said) = raw(member.client, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status, said.as_str()), (400, "Client sent an HTTP request to an HTTPS server.\n"));
    // The client may know before the operator: the line is waited for. One a second at most is written: what comes next is
    // to be told too.
    let told = |member: &Member, why: &str| {
        member.until(why, || member.said().contains("a connection was rejected") && member.said().contains(why));
        let second = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let now = second();
        member.until("the next second", || second() != now);
    };
    told(&member, "HTTP request to an HTTPS server");
    let (done, said) = puts(&member, &one.path, Some(&late));
    assert!(!done, "an expired certificate: {said}");
    told(&member, "invalid peer certificate: certificate expired");
    let (done, said) = puts(&member, &one.path, None);
    assert!(!done, "no certificate: {said}");
    told(&member, "peer sent no certificates");
    served(&member, "others are served", &one.path, Some(&client));

    pair_with(&one, &dir, "server", "server", expired);
    let (done, said) = puts(&member, &one.path, Some(&client));
    assert!(!done, "the member's own has expired: {said}");
    told(&member, "received fatal alert");
    let elsewhere = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().expect("an address"))];
    };
    pair_with(&one, &dir, "server", "server", elsewhere);
    let (done, said) = puts(&member, &one.path, Some(&client));
    assert!(!done, "the member's own is for somewhere else: {said}");
    pair(&one, &dir, "server", "server");
    served(&member, "its own is right again", &one.path, Some(&client));
}
