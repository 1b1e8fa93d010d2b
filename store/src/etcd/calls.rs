//! Calls of the services, counted as gRPC's libraries for Go count them.
//!
//! Source: go-grpc-prometheus; etcd `server/etcdserver/api/v3rpc/grpc.go`.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost_reflect::DescriptorPool;
use tonic::Code;

use crate::metrics::{counter, head};

/// The codes of gRPC, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Every call that etcd's services have.
#[derive(Debug)]
pub(super) struct Calls {
    by_path: HashMap<String, Arc<Count>>,
}

/// How often one was made, and how it ended.
#[derive(Debug)]
pub(super) struct Count {
    labels: String,
    method: String,
    streams: bool,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

impl Count {
    /// One ended.
    pub(super) fn handled(&self, code: Code) {
        let at = usize::try_from(i32::from(code)).unwrap_or(2).min(CODES.len() - 1);
        self.handled[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether answers come over time.
    pub(super) fn streams(&self) -> bool {
        self.streams
    }
}

/// Counts a stream's end when it is dropped.
#[derive(Debug)]
pub(super) struct Ends(pub(super) Arc<Count>);

impl Drop for Ends {
    fn drop(&mut self) {
        // Both sides talk until the client has had enough; what one side sends comes to an end.
        self.0.handled(if self.0.labels.ends_with("\"bidi_stream\"") { Code::Cancelled } else { Code::Ok });
    }
}

impl Calls {
    pub(super) fn new() -> Calls {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap_or_default();
        let mut by_path = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => "unary",
                    (false, true) => "server_stream",
                    (true, false) => "client_stream",
                    (true, true) => "bidi_stream",
                };
                let (service, name) = (service.full_name(), method.name());
                let count = Count {
                    labels: format!(r#"grpc_method="{name}",grpc_service="{service}",grpc_type="{kind}""#),
                    method: name.to_owned(),
                    streams: kind != "unary",
                    started: AtomicU64::new(0),
                    handled: [const { AtomicU64::new(0) }; CODES.len()],
                };
                by_path.insert(format!("/{service}/{name}"), Arc::new(count));
            }
        }
        Calls { by_path }
    }

    /// A call begins; nothing is counted for a path that no service has.
    pub(super) fn begin(&self, path: &str) -> Option<Arc<Count>> {
        let count = self.by_path.get(path)?;
        count.started.fetch_add(1, Ordering::Relaxed);
        Some(count.clone())
    }

    /// Calls of a path that have not ended.
    pub(super) fn open(&self, path: &str) -> u64 {
        let Some(count) = self.by_path.get(path) else { return 0 };
        load(&count.started).saturating_sub(count.handled.iter().map(load).sum())
    }

    /// Writes that were not taken, or of which nobody knows.
    pub(super) fn failed_writes(&self) -> u64 {
        let writes = ["KV/Put", "KV/DeleteRange", "KV/Txn", "KV/Compact", "Lease/LeaseGrant", "Lease/LeaseRevoke"];
        let found = writes.iter().filter_map(|call| self.by_path.get(&format!("/etcdserverpb.{call}")));
        let failed = [i32::from(Code::Unavailable), i32::from(Code::DeadlineExceeded)];
        let failed = failed.map(|code| usize::try_from(code).unwrap_or(0));
        found.map(|count| failed.iter().map(|at| load(&count.handled[*at])).sum::<u64>()).sum()
    }

    /// All of it as text.
    pub(super) fn write(&self, out: &mut String) {
        let mut all: Vec<&Count> = self.by_path.values().map(|count| &**count).collect();
        all.sort_by(|one, other| one.labels.cmp(&other.labels));
        head("grpc_server_started_total", "counter", "Total number of RPCs started on the server.", out);
        for count in &all {
            let _ = writeln!(out, "grpc_server_started_total{{{}}} {}", count.labels, load(&count.started));
        }
        head(
            "grpc_server_handled_total",
            "counter",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            out,
        );
        for count in &all {
            for (code, handled) in CODES.iter().zip(&count.handled) {
                let (labels, handled) = (&count.labels, load(handled));
                let _ = writeln!(out, r#"grpc_server_handled_total{{grpc_code="{code}",{labels}}} {handled}"#);
            }
        }
        for (name, method) in [("range", "Range"), ("put", "Put"), ("delete", "DeleteRange"), ("txn", "Txn")] {
            let started: u64 =
                all.iter().filter(|count| count.method == method).map(|count| load(&count.started)).sum();
            let (name, help) =
                (format!("etcd_mvcc_{name}_total"), format!("{method} calls that this member was asked."));
            counter(&name, &help, started, out);
        }
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_end() {
        let calls = Calls::new();
        calls.begin("/etcdserverpb.KV/Put").expect("known").handled(Code::Ok);
        calls.begin("/etcdserverpb.KV/Put").expect("known").handled(Code::ResourceExhausted);
        drop(calls.begin("/etcdserverpb.Watch/Watch").map(Ends));
        assert!(calls.begin("/evil/\"path").is_none());
        let mut text = String::new();
        calls.write(&mut text);
        let put = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
        for line in [
            format!("grpc_server_started_total{{{put} 2\n"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{put} 1\n"),
            format!("grpc_server_handled_total{{grpc_code=\"ResourceExhausted\",{put} 1\n"),
            "etcd_mvcc_put_total 2\n".to_owned(),
            "grpc_code=\"Canceled\",grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 1\n"
                .to_owned(),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
