//! Puts per second through one and three members over loopback, at 1, 16 and 128 clients.
//!
//! `cargo run --release -p store --example puts`; `TMPDIR` lies on the disk to be measured.

#![expect(clippy::print_stdout, reason = "its output is the result")]

#[path = "../tests/it/cluster.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod cluster;

use std::time::{Duration, Instant};

use cluster::{Place, open, place, put, voters};
use store::Store;
use tokio::task::JoinSet;

/// How long each line is measured.
const MEASURED: Duration = Duration::from_secs(3);

async fn measure(stores: &[Store], clients: usize) {
    let value = "v".repeat(256);
    let until = Instant::now() + MEASURED;
    let mut writers = JoinSet::new();
    for client in 0..clients {
        let (store, value) = (stores[client % stores.len()].clone(), value.clone());
        writers.spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                store.txn(0, put(&format!("bench/{client}/{}", taken.len()), &value)).await.expect("written");
                taken.push(begun.elapsed());
            }
            taken
        });
    }
    let mut taken: Vec<Duration> = writers.join_all().await.into_iter().flatten().collect();
    taken.sort();
    let at = |percent: usize| taken[taken.len() * percent / 100];
    let rate = taken.len() as f64 / MEASURED.as_secs_f64();
    println!("{:>7} {clients:>7} {rate:>9.0} {:>9.2?} {:>9.2?}", stores.len(), at(50), at(99));
}

#[tokio::main]
async fn main() {
    println!("members clients    puts/s       p50       p99");
    let first: Place = place("a", &[]);
    let mut stores = vec![open(&first).await];
    for clients in [1, 16, 128] {
        measure(&stores, clients).await;
    }
    let (second, third) = (place("b", &[&first]), place("c", &[&first]));
    stores.push(open(&second).await);
    stores.push(open(&third).await);
    voters(&stores[0], 3).await;
    for clients in [1, 16, 128] {
        measure(&stores, clients).await;
    }
    for store in stores {
        store.shutdown().await;
    }
}
