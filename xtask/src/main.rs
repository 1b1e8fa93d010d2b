//! Regenerates committed code and tables: `cargo run -p xtask -- proto | schema | bootstrap | protobuf`.

mod bootstrap;
mod golang;
#[path = "../../control/src/schema/guess.rs"]
mod guess;
mod protobuf;
mod schema;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use prost::Message;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("proto") => proto(),
        Some("schema") => {
            let files: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
            let [swagger, api, apimachinery] = files.as_slice() else {
                bail!("usage: cargo run -p xtask -- schema SWAGGER.json API APIMACHINERY (checked-out Go modules)")
            };
            schema::generate(swagger, api, apimachinery, &root().join("control/src/schema/facts.txt"))
        }
        Some("protobuf") => {
            let files: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
            let [source, swagger, pointers] = files.as_slice() else {
                bail!("usage: cargo run -p xtask -- protobuf K8S_PB SWAGGER.json POINTERS.txt")
            };
            protobuf::generate(source, swagger, pointers, &root().join("control/src/schema/numbers.txt"))
        }
        Some("bootstrap") => {
            let dir = std::env::args().nth(2).context("usage: cargo run -p xtask -- bootstrap DIR")?;
            bootstrap::generate(Path::new(&dir), &root().join("control/src/authz/bootstrap.jsonl"))
        }
        _ => bail!(
            "usage: cargo run -p xtask -- proto | schema SWAGGER.json API APIMACHINERY | bootstrap DIR | protobuf K8S_PB SWAGGER.json POINTERS.txt"
        ),
    }
}

/// Compiles `proto/proto/*.proto` to `proto/src/gen/*.rs` without protoc.
fn proto() -> anyhow::Result<()> {
    let dir = root().join("proto/proto");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let descriptors = protox::compile(&files, [&dir]).context("the .proto files do not compile")?;
    let out = root().join("proto/src/gen");
    std::fs::create_dir_all(&out)?;
    // What the JSON gateway goes by: the services of clients alone, without comments.
    let mut described = descriptors.clone();
    let inside = ["raftsman.agent", "raftsman.command", "raftsman.peer", "grpc"];
    described.file.retain(|file| !inside.iter().any(|one| file.package().starts_with(one)));
    described.file.iter_mut().for_each(|file| file.source_code_info = None);
    std::fs::write(out.join("descriptors.bin"), described.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").out_dir(&out).compile_fds(descriptors).context("code generation failed")
}
