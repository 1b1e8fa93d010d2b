//! What listeners of clients share with the store.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::Store;
use crate::archive::Board;
use crate::etcd::{Api, Options, Serves};
use crate::lanes::Lanes;
use crate::listener::Ends;
use crate::raft::journal::Journal;

impl Store {
    /// The etcd v3 API of this member, for one listener or several.
    pub fn etcd(&self, options: Options) -> Api {
        Api::new(self, options)
    }

    /// Serves the etcd v3 API on a listener until the store shuts down.
    pub fn serve_etcd(&self, listener: TcpListener, tls: Option<TlsAcceptor>, options: Options) {
        self.etcd(options).serve(listener, tls, Serves::All);
    }

    /// How many leases there are.
    pub(crate) fn lease_count(&self) -> usize {
        self.inner.machine.lease_count()
    }

    /// Where connections of etcd's clients are served.
    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.inner.lanes
    }

    /// What is known of the archive.
    pub(crate) fn board(&self) -> &Mutex<Board> {
        &self.inner.board
    }

    pub(crate) fn journal(&self) -> Journal {
        self.inner.journal.clone()
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.inner.ends
    }

    /// Calls of clients under way.
    pub(crate) fn calls(&self) -> &TaskTracker {
        &self.inner.calls
    }
}
