//! The words that cross a process boundary: protobuf messages and services, generated from `proto/*.proto`.
//!
//! Nothing here decides or acts; `prometheus` writes a usage report as text, for servers and nodes alike. `cargo run -p xtask -- proto` regenerates `gen/`.

#![expect(
    missing_docs,
    clippy::too_many_lines,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    clippy::module_inception,
    reason = "generated code follows its .proto files"
)]

pub mod prometheus;

/// etcd's services and messages, and what else clients may call, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

/// etcd's keys, values and events.
pub mod mvccpb {
    include!("gen/mvccpb.rs");
}

/// etcd's users, roles and permissions.
pub mod authpb {
    include!("gen/authpb.rs");
}

/// The etcd v3 API: the store's own vocabulary, in process and on the wire.
pub mod etcdserverpb {
    include!("gen/etcdserverpb.rs");
}

/// etcd's locks.
pub mod v3lockpb {
    include!("gen/v3lockpb.rs");
}

/// etcd's elections.
pub mod v3electionpb {
    include!("gen/v3electionpb.rs");
}

/// gRPC's protocol for asking whether a server serves.
pub mod health {
    include!("gen/grpc.health.v1.rs");
}

/// Raftsman's own messages, nested as the generated paths expect.
pub mod raftsman {
    /// What a Raft log entry carries and what applying it answers.
    pub mod command {
        include!("gen/raftsman.command.rs");
    }

    /// Between a node's agent and any server.
    pub mod agent {
        include!("gen/raftsman.agent.rs");
    }

    /// Between the members of a Raft group.
    pub mod peer {
        include!("gen/raftsman.peer.rs");
    }

    /// Looking back at a store.
    pub mod history {
        include!("gen/raftsman.history.rs");
    }
}

pub use raftsman::{agent, command, history, peer};
