//! A quota that is full: what is refused, what is not, and how there is room again.

use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use store::etcd::Options;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

use crate::cluster::{PATIENCE, open, place};

/// Bytes that compress to nothing less.
fn noise(number: u64) -> Vec<u8> {
    let byte = |at: u64| ((at ^ (number << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..256 << 10).map(byte).collect()
}

fn put(key: String, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..pb::PutRequest::default() }
}

fn no_space<T: std::fmt::Debug>(result: Result<Response<T>, Status>) {
    let status = result.expect_err("there is no space");
    let words = "etcdserver: mvcc: database space exceeded";
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, words));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_refuses_what_grows_until_compaction_made_room_and_clears_by_itself() {
    let place = place("a", &[]);
    let store = open(&place).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().expect("an address")));
    store.serve_etcd(listener, None, Options { quota_bytes: 8 << 20, ..Options::default() });
    let channel = endpoint.expect("a URL").connect().await.expect("it listens");
    let (mut kv, mut leases) = (KvClient::new(channel.clone()), LeaseClient::new(channel.clone()));
    let mut maintenance = MaintenanceClient::new(channel);
    let mut alarms = async || {
        let alarms = maintenance.alarm(pb::AlarmRequest::default()).await.expect("answered").into_inner().alarms;
        alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm())).collect::<Vec<_>>()
    };
    assert_eq!(alarms().await, []);

    let mut written = 0;
    let refused = loop {
        match kv.put(put(format!("k{written:03}"), noise(written))).await {
            Ok(_) => written += 1,
            Err(status) => break Err::<Response<()>, _>(status),
        }
        assert!(written < 64, "16 MiB fit into a quota of 8");
    };
    no_space(refused);
    assert!(written > 16, "{written} values of 256 KiB fill 8 MiB");
    assert_eq!(alarms().await, [(store.id(), pb::AlarmType::Nospace)]);
    // Small ones are refused too from now on, whatever they are in.
    let small = put("small".to_owned(), b"v".to_vec());
    no_space(kv.put(small.clone()).await);
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(small.clone())) };
    no_space(kv.txn(pb::TxnRequest { success: vec![op], ..Default::default() }).await);
    no_space(leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 7 }).await);

    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), keys_only: true, ..Default::default() };
    assert_eq!(kv.range(all.clone()).await.expect("reads go on").into_inner().count, written as i64);
    let most = pb::DeleteRangeRequest { key: "k".into(), range_end: "k9".into(), ..Default::default() };
    kv.delete_range(most).await.expect("deletions go on");
    assert_eq!(kv.range(all).await.expect("reads go on").into_inner().count, 0);
    no_space(kv.put(small.clone()).await);
    let revision = store.revision();
    kv.compact(pb::CompactionRequest { revision, physical: true }).await.expect("compaction goes on");
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let cleared = async {
        while !alarms().await.is_empty() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, cleared).await.expect("the alarm is cleared by itself");
    kv.put(small).await.expect("there is room");
    store.shutdown().await;
}
