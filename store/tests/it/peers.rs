//! Whoever calls a member's port for peers and is none of its peers.

use proto::peer;
use proto::peer::peer_client::PeerClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::cluster::{founders, get, open_all, wrote};

/// A call that means a member of a cluster.
fn meant<T>(message: T, to: Option<u64>, cluster: Option<u64>) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in [("raftsman-to", to), ("raftsman-cluster", cluster)] {
        if let Some(value) = value {
            request.metadata_mut().insert(name, MetadataValue::from(value));
        }
    }
    request
}

/// Votes of a term that nobody has reached, which must depose nobody.
fn vote() -> peer::VoteRequest {
    let vote = peer::Vote { term: 1 << 40, voted_for: 7, committed: true };
    peer::VoteRequest { vote: Some(vote), ..peer::VoteRequest::default() }
}

fn append() -> peer::AppendRequest {
    peer::AppendRequest { vote: vote().vote, ..peer::AppendRequest::default() }
}

/// What each call that speaks for a group's log is told.
async fn told(client: &mut PeerClient<Channel>, to: Option<u64>, cluster: Option<u64>) -> Vec<Status> {
    let transfer = peer::TransferRequest { from: vote().vote, to: 7, last_log_id: None };
    vec![
        client.vote(meant(vote(), to, cluster)).await.map(drop).expect_err("refused"),
        client.heartbeat(meant(append(), to, cluster)).await.map(drop).expect_err("refused"),
        client.append(meant(tokio_stream::once(append()), to, cluster)).await.map(drop).expect_err("refused"),
        client
            .snapshot(meant(tokio_stream::once(peer::SnapshotPart::default()), to, cluster))
            .await
            .map(drop)
            .expect_err("refused"),
        client.transfer_leader(meant(transfer, to, cluster)).await.map(drop).expect_err("refused"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_groups_and_nobodies_depose_no_leader() {
    let places = founders(&["a", "b", "c"]);
    let stores = open_all(&places).await;
    wrote(&stores[0], "k", "1", "written").await;
    for (place, store) in places.iter().zip(&stores) {
        let endpoint = Endpoint::from_shared(place.config.peer_listen[0].to_string()).expect("a URL");
        let mut client = PeerClient::new(endpoint.connect().await.expect("it listens"));
        let (own, cluster) = (Some(store.id()), Some(store.cluster_id()));
        for (to, cluster, why) in [
            (None, None, "a call that names no member"),
            (None, cluster, "a call that names no member"),
            (Some(store.id() ^ 1), cluster, "another one is meant"),
            (own, Some(store.cluster_id() ^ 1), "this member belongs to cluster"),
        ] {
            for status in told(&mut client, to, cluster).await {
                assert!(status.code() == Code::FailedPrecondition && status.message().contains(why), "{status:?}");
            }
        }
        let empty = client.vote(meant(peer::VoteRequest::default(), own, cluster)).await.expect_err("refused");
        assert_eq!((empty.code(), empty.message()), (Code::InvalidArgument, "a message without a vote"));
        let mut cut = append();
        cut.entries = vec![bytes::Bytes::from_static(b"\xff\xff")];
        let cut = client.heartbeat(meant(cut, own, cluster)).await.expect_err("refused");
        assert_eq!(cut.code(), Code::InvalidArgument, "{cut:?}");
    }
    wrote(&stores[1], "k", "2", "written").await;
    assert_eq!(get(&stores[2], "k").await.as_deref(), Some("2"));
    // A busy machine may have elected another one, but none by what the stranger said.
    let (led, said) = (stores[0].leadership().borrow().clone(), vote().vote.expect("one"));
    assert!(led.epoch < said.term, "{led:?}");
    for store in stores {
        store.shutdown().await;
    }
}
