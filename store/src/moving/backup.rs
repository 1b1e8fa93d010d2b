//! A backup of a store, ours or etcd's, that is reached as a client reaches it.

use std::io::Write;
use std::path::Path;

use crate::backup::{Given, Manifest, write};
use crate::moving::client::Client;
use crate::moving::import::{Place, blocking, download, load, remaining, sound};
use crate::moving::{Access, Problem, Progress, file};

/// Takes a snapshot of the first endpoint that answers, and writes it as a backup; answers what it holds, and what was
/// written to. `scratch` is an empty directory that the caller removes.
///
/// # Errors
/// When nobody answers, what came is damaged, or the sink refuses.
pub async fn backup<W: Write + Send + 'static>(
    access: &Access,
    scratch: &Path,
    extra: serde_json::Value,
    sink: W,
    progress: Progress,
) -> Result<(Manifest, W), Problem> {
    let client = progress.unless_stopped(Client::connect(access)).await?;
    progress.say(&format!("reading a snapshot of {}", client.endpoint));
    let path = scratch.join("snapshot.db");
    progress.unless_stopped(download(&client, &path, &progress)).await?;
    let left = progress.unless_stopped(remaining(&client, &path, &progress)).await?;
    let place = Place { dir: scratch.to_owned(), sealer: None };
    blocking(move || {
        let (mut etcd, _) = file::open(&path, &progress)?;
        sound(&etcd.facts)?;
        for lease in &mut etcd.facts.leases {
            lease.remaining_ttl = left.get(&lease.id).copied().unwrap_or(lease.remaining_ttl);
        }
        load(&etcd, &place, &progress)?;
        let (machine, mut sink) = (place.machine()?, sink);
        let given = Given { view: &machine.view(), cluster_id: client.group, epoch: 0, base: false, extra };
        let manifest = write(given, &mut sink).map_err(|error| Problem::Failed(error.to_string()))?;
        Ok((manifest, sink))
    })
    .await
}
