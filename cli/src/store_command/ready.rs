//! Telling the service manager that clients are served.
//!
//! Source: `sd_notify(3)`. A unit of `Type=notify`, as etcd's is, waits for it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says so, where a service manager wants to know.
pub(crate) fn tell() {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = || {
        let address = match place.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&place)?,
        };
        UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)
    };
    if let Err(error) = told() {
        tracing::warn!(%error, "the service manager was not told that clients are served");
    }
}
