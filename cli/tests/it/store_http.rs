//! What `raftsman store` answers without gRPC, word for word as etcd does.

use crate::member::{Member, http, raw, text};

#[test]
fn health_and_version_are_etcds() {
    let mut member = Member::new();
    let other = Member::new();
    let mut flags = member.flags("http");
    flags.push(format!("--listen-metrics-urls=http://127.0.0.1:{}", other.client));
    member.start(&flags);
    let ask = |path: &str| http(member.client, "GET", path, "");
    assert_eq!(ask("/health"), (200, r#"{"health":"true","reason":""}"#.to_owned()));
    assert_eq!(ask("/health?serializable=true&exclude=NOSPACE").0, 200);
    let (status, versions) = ask("/version");
    let versions: serde_json::Value = serde_json::from_str(&versions).expect("JSON");
    assert!(status == 200 && versions["etcdserver"].as_str().is_some_and(|text| text.starts_with("3.")), "{versions}");
    assert_eq!(ask("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(ask("/livez?verbose"), (200, "[+]serializable_read ok\nok\n".to_owned()));
    let (_, report) = ask("/readyz?verbose&exclude=non_learner");
    assert!(report.contains("[+]linearizable_read ok\n") && !report.contains("non_learner"), "{report}");
    assert_eq!(ask("/readyz/non_learner"), (200, "ok\n".to_owned()));
    for path in ["/readyz/nothing", "/livez/", "/", "/nope", "/livezz"] {
        assert_eq!(ask(path), (404, "404 page not found\n".to_owned()), "{path}");
    }
    assert_eq!(http(member.client, "POST", "/health", "{}"), (405, "Method Not Allowed\n".to_owned()));
    assert_eq!(http(other.client, "GET", "/readyz", ""), (200, "ok\n".to_owned()));
    assert_eq!(http(other.client, "GET", "/version", "").0, 404, "only metrics and health are there");
    // A port for gRPC goes on speaking it.
    assert_eq!(member.ok(&["put", "a", "1"]), "OK\n");
}

#[test]
fn hosts_that_are_not_listed_are_refused_and_ports_may_be_apart() {
    let mut member = Member::new();
    let other = Member::new();
    let mut flags = member.flags("http");
    flags.push("--host-whitelist=example.com".to_owned());
    flags.push(format!("--listen-client-http-urls=http://127.0.0.1:{}", other.client));
    member.start(&flags);
    let of =
        |host: &str| raw(other.client, &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    assert_eq!(of("example.com:1"), (200, "ok\n".to_owned()));
    let (status, why) = of("evil.example");
    assert!(status == 421 && why.contains("--host-whitelist"), "{status} {why}");
    assert_eq!(member.ok(&["put", "a", "1"]), "OK\n");
    let refused = other.etcdctl(&["--command-timeout=2s", "put", "a", "1"]);
    assert!(!refused.status.success(), "no gRPC there: {}", text(&refused.stdout));
}
