//! The service proxy of nodes without nftables: the agent listens and copies.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::forward::{Forwards, Known, forwards};
use super::{host_ports, kernel};
use crate::mirror::Mirror;

/// Connections passed on at one time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// An endpoint that does not answer for so long is passed over.
const CONNECT: Duration = Duration::from_secs(3);
/// After a failure (a port that is taken), listening is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A socket that listens, and where its connections go.
struct Listening {
    targets: watch::Sender<BTreeSet<SocketAddr>>,
    stop: CancellationToken,
}

/// Follows the objects until told to stop; nothing of it stays.
pub(crate) async fn run(mirror: Arc<Mirror>, node: String, cluster_ips: bool, stop: CancellationToken) {
    let mut changes = mirror.subscribe();
    let (mut tasks, slots) = (JoinSet::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut listening: BTreeMap<SocketAddr, Listening> = BTreeMap::new();
    loop {
        let (services, slices, nodes) =
            (mirror.list("services", None), mirror.list("endpointslices", None), mirror.list("nodes", None));
        let host_ports = host_ports::of(&mirror.list::<Pod>("pods", None), &node);
        let known = Known {
            services: &services,
            slices: &slices,
            nodes: &nodes,
            host_ports: &host_ports,
            own: &node,
            cluster_ips,
        };
        let complete = follow(forwards(&known), &mut listening, &mut tasks, &slots).await;
        tokio::select! {
            () = stop.cancelled() => break,
            changed = changes.next() => if changed.is_none() { break },
            Some(_) = tasks.join_next() => {}
            () = tokio::time::sleep(AGAIN), if !complete => {}
        }
    }
    follow(Forwards::new(), &mut listening, &mut tasks, &slots).await;
    tasks.shutdown().await;
}

/// Listens to what is wanted and to nothing else; false when something could not be had.
async fn follow(
    mut wanted: Forwards,
    listening: &mut BTreeMap<SocketAddr, Listening>,
    tasks: &mut JoinSet<()>,
    slots: &Arc<Semaphore>,
) -> bool {
    let gone: Vec<SocketAddr> = listening.keys().filter(|at| !wanted.contains_key(at)).copied().collect();
    for at in gone {
        if let Some(held) = listening.remove(&at) {
            held.stop.cancel();
        }
        // Several ports may share an address.
        if !at.ip().is_unspecified() && !listening.keys().any(|held| held.ip() == at.ip()) {
            address(at.ip(), "del").await;
        }
    }
    for (at, held) in listening.iter() {
        let targets = wanted.remove(at).unwrap_or_default();
        held.targets.send_if_modified(|known| std::mem::replace(known, targets.clone()) != targets);
    }
    let mut complete = true;
    for (at, targets) in wanted {
        if !at.ip().is_unspecified() {
            address(at.ip(), "replace").await;
        }
        match TcpListener::bind(at).await {
            Ok(listener) => {
                let (targets, stop) = (watch::Sender::new(targets), CancellationToken::new());
                tasks.spawn(serve(listener, targets.subscribe(), stop.clone(), Arc::clone(slots)));
                listening.insert(at, Listening { targets, stop });
            }
            Err(error) => {
                complete = false;
                tracing::warn!(%at, %error, "a Service's port cannot be had; trying again");
            }
        }
    }
    complete
}

async fn address(ip: IpAddr, what: &str) {
    if let Err(error) = kernel::ip(&format!("addr {what} {ip}/32 dev lo\n")).await {
        tracing::debug!(%ip, error, "loopback's addresses are as they were");
    }
}

async fn serve(
    listener: TcpListener,
    targets: watch::Receiver<BTreeSet<SocketAddr>>,
    stop: CancellationToken,
    slots: Arc<Semaphore>,
) {
    let (turn, mut connections) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (targets, turn) = (targets.borrow().clone(), Arc::clone(&turn));
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = pass(stream, &targets, turn.fetch_add(1, Ordering::Relaxed)).await {
                tracing::debug!(%error, "a connection to a Service has ended");
            }
        });
    }
    // What is under way goes on while its pod answers, as it would with rules of the kernel.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    listener.accept().await.ok().map(|(stream, _)| (stream, slot))
}

/// Copies both ways between a client and the first endpoint that answers; each connection begins with another one.
async fn pass(mut client: TcpStream, targets: &BTreeSet<SocketAddr>, turn: usize) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
    for at in 0..targets.len() {
        let Some(target) = targets.iter().nth(turn.wrapping_add(at) % targets.len()) else { continue };
        match tokio::time::timeout(CONNECT, TcpStream::connect(target)).await {
            Ok(Ok(mut server)) => return tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers every connection with its name.
    async fn endpoint(name: &'static str, tasks: &mut JoinSet<()>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name.as_bytes()).await.expect("written");
            }
        });
        at
    }

    async fn ask(at: SocketAddr) -> String {
        let mut text = String::new();
        TcpStream::connect(at).await.expect("listening").read_to_string(&mut text).await.expect("an answer");
        text
    }

    #[tokio::test]
    async fn connections_take_turns_and_pass_over_the_dead() {
        let (mut ends, mut tasks) = (JoinSet::new(), JoinSet::new());
        let (one, two) = (endpoint("one", &mut ends).await, endpoint("two", &mut ends).await);
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let (mut listening, slots) = (BTreeMap::new(), Arc::new(Semaphore::new(4)));
        let at: SocketAddr = ([0, 0, 0, 0], free.port()).into();
        let wanted = |targets: &[SocketAddr]| Forwards::from([(at, targets.iter().copied().collect())]);
        assert!(follow(wanted(&[one, two]), &mut listening, &mut tasks, &slots).await);
        let local: SocketAddr = ([127, 0, 0, 1], free.port()).into();
        let heard = [ask(local).await, ask(local).await];
        assert!(heard.contains(&"one".to_owned()) && heard.contains(&"two".to_owned()), "{heard:?}");
        // Port 1 of loopback: nobody listens.
        follow(wanted(&[([127, 0, 0, 1], 1).into(), two]), &mut listening, &mut tasks, &slots).await;
        assert_eq!((ask(local).await, ask(local).await), ("two".to_owned(), "two".to_owned()));
        follow(Forwards::new(), &mut listening, &mut tasks, &slots).await;
        while tasks.join_next().await.is_some() {}
        assert!(TcpStream::connect(local).await.is_err(), "nobody listens any more");
    }
}
