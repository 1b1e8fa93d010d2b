//! The raftsman binary.
fn main() {}
