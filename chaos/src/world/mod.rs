//! A cluster on this machine: real processes, each in a network namespace of its own where the machine allows that.

pub(crate) mod breakable;
pub(crate) mod bring_up;
pub(crate) mod cluster;
pub(crate) mod delay;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod kubeconfig;
pub(crate) mod layout;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod shim;
pub(crate) mod store;
