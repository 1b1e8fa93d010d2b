//! Members of `raftsman store` that speak TLS with each other, and whoever else calls their ports for peers.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};

use crate::member::{Member, exchange, text};
use crate::process::PATIENCE;
use crate::store_tls::{Authority, authority, pair_with};

/// Writes a list of the certificates that are revoked.
fn revoke(authority: &Authority, path: &Path, numbers: &[u64]) {
    let revoked = |number: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*number),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: numbers.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let pem = list.signed_by(&authority.issuer).expect("signed").pem().expect("text");
    std::fs::write(path, pem).expect("written");
}

/// Waits until a member takes a write.
fn writes(member: &Member, key: &str) {
    let begun = Instant::now();
    while !member.etcdctl(&["--command-timeout=2s", "put", key, "v"]).status.success() {
        assert!(begun.elapsed() < PATIENCE, "{key} is not written: {}", member.said());
    }
}

#[test]
fn a_revoked_member_and_strangers_are_shut_out_and_the_others_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (authority(dir.path(), "one"), authority(dir.path(), "other"));
    let list = dir.path().join("revoked.pem");
    revoke(&one, &list, &[99]);
    let mut members: Vec<Member> = (0..3).map(|_| Member::new()).collect();
    let named = |(number, member): (usize, &Member)| format!("m{number}=https://127.0.0.1:{}", member.peer);
    let cluster = members.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
    let flags: Vec<Vec<String>> = members
        .iter()
        .enumerate()
        .map(|(number, member)| {
            let serial = |params: &mut rcgen::CertificateParams| {
                params.serial_number = Some(SerialNumber::from(number as u64 + 1));
            };
            let (cert, key) = pair_with(&one, dir.path(), &format!("m{number}"), "member", serial);
            let mut flags = member.flags("http");
            flags.retain(|flag| !flag.contains("peer-urls"));
            flags.extend([
                format!("--name=m{number}"),
                format!("--listen-peer-urls=https://127.0.0.1:{}", member.peer),
                format!("--initial-advertise-peer-urls=https://127.0.0.1:{}", member.peer),
                format!("--initial-cluster={cluster}"),
                format!("--peer-cert-file={}", cert.display()),
                format!("--peer-key-file={}", key.display()),
                format!("--peer-trusted-ca-file={}", one.path.display()),
                "--peer-client-cert-auth".to_owned(),
                format!("--peer-crl-file={}", list.display()),
            ]);
            flags
        })
        .collect();
    std::thread::scope(|scope| {
        for (member, flags) in members.iter_mut().zip(&flags) {
            scope.spawn(move || member.start(flags));
        }
    });
    for (number, member) in members.iter().enumerate() {
        writes(member, &format!("k{number}"));
    }

    // Garbage, HTTP without TLS, and members of another authority: all at once.
    let port = members[0].peer;
    for said in [&b"\x16\x03\x01\x00\x05hello"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4096]] {
        let answer = exchange((Ipv4Addr::LOCALHOST, port).into(), PATIENCE, said);
        assert!(answer.as_ref().is_ok_and(|answer| !answer.starts_with(b"HTTP/1.1 2")), "{answer:?}");
    }
    let (cert, key) = pair_with(&other, dir.path(), "stranger", "member", |_| {});
    let at = format!("--endpoints=https://127.0.0.1:{port}");
    let trusted = format!("--cacert={}", one.path.display());
    let own = [format!("--cert={}", cert.display()), format!("--key={}", key.display())];
    for shown in [&[][..], &own[..]] {
        let mut command = std::process::Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args([&at, &trusted]).args(shown).args(["--command-timeout=2s", "get", "k0"]);
        let output = command.output().expect("etcdctl is installed");
        assert!(!output.status.success(), "{}", text(&output.stdout));
    }

    // Its certificate is revoked while it is away: it is not let in again, and cannot let others in that check it.
    assert!(members[2].terminate());
    revoke(&one, &list, &[3]);
    members[2].begin(&flags[2]);
    writes(&members[0], "without");
    writes(&members[1], "without it");
    let reads = members[2].etcdctl(&["--command-timeout=3s", "get", "without"]);
    assert!(!reads.status.success(), "a member that nobody lets in knows nothing new: {}", text(&reads.stdout));
    members[0].until("it says why", || members[0].said().contains("invalid peer certificate: Revoked"));

    revoke(&one, &list, &[99]);
    writes(&members[2], "back");
    assert_eq!(members[2].ok(&["get", "without"]), "without\nv\n");
}
