//! What a server needs so that its disk and its clock can be broken.

use std::path::Path;

use crate::world::layout::Place;
use crate::world::{disk, shim};

/// Gives a server a disk of its own and a library between it and its clock and disk, each where the machine allows it;
/// answers what goes in front of the server's command.
///
/// # Errors
/// When its disk cannot be made though the machine has such disks.
pub(crate) fn prepare(dir: &Path, place: &Place) -> anyhow::Result<Vec<String>> {
    if disk::can_mount().is_ok() {
        disk::mount(&disk::image(dir, &place.name), &place.disk)?;
    }
    Ok(shim::prefix(dir, &place.name).unwrap_or_default())
}
