//! The way to a member, which a test opens, closes, and lets so many bytes through.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Place, place};

/// Listens in a member's place and passes on what others send it, as long as the test lets it.
pub(crate) struct Gate {
    address: SocketAddr,
    /// Bytes that may pass to the member, in all.
    allowed: watch::Sender<u64>,
    passed: Arc<watch::Sender<u64>>,
    _tasks: JoinSet<()>,
}

impl Gate {
    /// In front of an address. Closed: connections are taken and nothing passes.
    async fn before(member: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (allowed, passed) = (watch::Sender::new(0), Arc::new(watch::Sender::new(0)));
        let (mut tasks, limit, count) = (JoinSet::new(), allowed.subscribe(), passed.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                connections.spawn(pass(from, member, limit.clone(), count.clone()));
            }
        });
        Gate { address, allowed, passed, _tasks: tasks }
    }

    /// Lets so many bytes pass, counted from now on.
    pub(crate) fn allow(&self, bytes: u64) {
        let passed = *self.passed.borrow();
        self.allowed.send_replace(passed.saturating_add(bytes));
    }

    pub(crate) fn open(&self) {
        self.allowed.send_replace(u64::MAX);
    }

    /// Waits until everything allowed has passed.
    pub(crate) async fn exhausted(&self) {
        let allowed = *self.allowed.borrow();
        self.passed.subscribe().wait_for(|passed| *passed >= allowed).await.expect("the gate stands");
    }
}

/// A place whose member others reach through a gate.
pub(crate) async fn gated(name: &str, peers: &[&Place]) -> (Place, Gate) {
    let mut place = place(name, peers);
    let gate = Gate::before(place.config.peer_listen[0].authority.parse().expect("an address")).await;
    place.config.peer_advertise = vec![store::config::Url::https(gate.address)];
    (place, gate)
}

async fn pass(from: TcpStream, member: SocketAddr, mut limit: watch::Receiver<u64>, count: Arc<watch::Sender<u64>>) {
    let Ok(()) = limit.wait_for(|limit| *limit > *count.borrow()).await.map(drop) else { return };
    let Ok(to) = TcpStream::connect(member).await else { return };
    let (mut from_read, mut from_write) = from.into_split();
    let (mut to_read, mut to_write) = to.into_split();
    let forth = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_read.read(&mut buffer).await {
            if limit.wait_for(|limit| *limit > *count.borrow()).await.is_err() {
                return;
            }
            count.send_modify(|passed| *passed += read as u64);
            if to_write.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        _ = tokio::io::copy(&mut to_read, &mut from_write) => {}
    }
}
