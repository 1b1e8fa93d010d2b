//! The `raftsman` binary: parse, assemble, run, print. It decides nothing about the cluster.

use clap::Parser;

/// Runs containers on a cluster of machines, from one binary.
#[derive(Parser)]
#[command(name = "raftsman", version, arg_required_else_help = true)]
struct Arguments {}

fn main() {
    Arguments::parse();
}
