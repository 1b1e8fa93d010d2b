//! Disks that fill up, fail and lie: the real binary says what is wrong and loses nothing that it acknowledged.

#![expect(clippy::print_stdout, reason = "the count of tests lists what was skipped")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use store::log::record::{Decoded, Record};
use tempfile::TempDir;

use crate::process::{Server, three_servers, until};

/// Bytes of a segment before its first record.
const SEGMENT_HEADER: usize = 32;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "k": name } })).expect("a map")
}

async fn maps(server: &Server) -> Api<ConfigMap> {
    Api::namespaced(server.client().await, "default")
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> Result<(), kube::Error> {
    maps.create(&PostParams::default(), &map(name)).await.map(drop)
}

fn alarms(server: &Server) -> String {
    server.ask_json(&["status"])["alarms"].to_string()
}

/// The newest segment of a server's log.
fn segment(server: &Server) -> PathBuf {
    let entries = fs::read_dir(server.data_dir().join("log")).expect("a log");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "wal")).max().expect("a segment")
}

/// Where the records of a segment begin, and where the last one ends.
fn records(segment: &Path) -> Vec<usize> {
    let bytes = Bytes::from(fs::read(segment).expect("read"));
    let sequence = u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes"));
    let mut places = vec![SEGMENT_HEADER];
    while let Decoded::Record { size, .. } = Record::decode(sequence, &bytes.slice(places[places.len() - 1]..)) {
        places.push(places[places.len() - 1] + size);
    }
    places
}

fn overwrite(path: &Path, offset: usize, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("opened");
    file.write_all_at(bytes, offset as u64).expect("written");
}

fn byte(path: &Path, offset: usize) -> u8 {
    let mut byte = [0];
    File::open(path).expect("opened").read_exact_at(&mut byte, offset as u64).expect("read");
    byte[0]
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_any_other_damage_refuses_with_what_to_do() {
    let mut server = Server::new("a");
    server.start(None);
    let api = maps(&server).await;
    for number in 0..20 {
        create(&api, &format!("m{number}")).await.expect("acknowledged");
    }
    server.kill();
    let (wal, places) = (segment(&server), records(&segment(&server)));
    let (middle, end) = (places[places.len() / 2], places[places.len() - 1]);

    // What a write leaves that power was cut in: the beginning of a record.
    overwrite(&wal, end, &fs::read(&wal).expect("read")[middle..middle + 20]);
    server.start(None);
    assert!(maps(&server).await.get("m19").await.is_ok(), "what was acknowledged before it is there");
    server.kill();

    let healthy = byte(&wal, middle + 14);
    overwrite(&wal, middle + 14, &[healthy ^ 4]);
    let (code, said) = server.start_in_vain(None);
    let place = format!("{}: damaged at byte {middle}: ", wal.display());
    assert!(code == Some(1) && said.contains(&place) && said.contains("remove this member"), "{code:?} {said}");
    overwrite(&wal, middle + 14, &[healthy]);

    // The header of a segment: magic, format, sequence, checksum.
    let mut header = fs::read(&wal).expect("read")[..SEGMENT_HEADER].to_vec();
    overwrite(&wal, 0, b"?");
    let (code, said) = server.start_in_vain(None);
    assert!(code == Some(1) && said.contains(&format!("{}: damaged at byte 0", wal.display())), "{code:?} {said}");
    let whole = header.clone();
    header[8] = 99;
    let crc = crc32c::crc32c(&header[..20]);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    overwrite(&wal, 0, &header);
    let (code, said) = server.start_in_vain(None);
    assert!(code == Some(1) && said.contains("start it with the newer version"), "{code:?} {said}");
    overwrite(&wal, 0, &whole);

    let path = server.data_dir().join("identity.json");
    let identity = fs::read_to_string(&path).expect("read");
    fs::write(&path, identity.replace("\"format\": 1", "\"format\": 2")).expect("written");
    let (code, said) = server.start_in_vain(None);
    assert!(code == Some(1) && said.contains("format 2 is newer than this program knows (1)"), "{code:?} {said}");
    fs::write(&path, identity).expect("written");

    server.start(None);
    let kept = maps(&server).await.list(&ListParams::default()).await.expect("a list");
    let kept = kept.items.iter().filter(|map| map.metadata.name.as_deref().is_some_and(|name| name.starts_with('m')));
    assert_eq!(kept.count(), 20);
    let (code, said) = server.start_in_vain(None);
    assert!(code == Some(1) && said.contains("is in use by another process; stop it first"), "{code:?} {said}");
    assert!(maps(&server).await.get("m0").await.is_ok(), "its owner is not disturbed");
}

/// The library that fails a sync; none where no C compiler is.
fn failing_sync(dir: &Path) -> Option<PathBuf> {
    preloaded(dir, "shim", include_str!("../../../chaos/src/world/shim.c"))
}

/// A library to be preloaded, from its source; none where no C compiler is.
pub(crate) fn preloaded(dir: &Path, name: &str, text: &str) -> Option<PathBuf> {
    let (source, library) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.so")));
    fs::write(&source, text).expect("written");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
    match compiler.output() {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            println!("skipped: {name}: no C compiler");
            None
        }
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_and_nothing_unsynced_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(library) = failing_sync(dir.path()) else { return };
    let control = dir.path().join("control");
    fs::write(&control, [0; 4096]).expect("written");
    let mut server = Server::new("a");
    server.environment =
        vec![("LD_PRELOAD", library.into_os_string()), ("CHAOS_CONTROL", control.clone().into_os_string())];
    server.start(None);
    let api = maps(&server).await;
    let mut acknowledged = Vec::new();
    for number in 0..10 {
        create(&api, &format!("m{number}")).await.expect("acknowledged");
        acknowledged.push(format!("m{number}"));
    }
    // As `shim.c` numbers them: the next sync of the log fails.
    overwrite(&control, 4 * 8, &1_i64.to_ne_bytes());
    let failed = create(&api, "unsynced").await;
    assert!(failed.is_err(), "the sync of this write failed");
    assert_eq!(fs::read(&control).expect("read")[4 * 8..5 * 8], [0; 8], "no sync failed");
    let (code, said) = server.ended();
    let wal = segment(&server);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{}: Input/output error", wal.display())), "{said}");
    assert!(said.contains("start it again once the disk is sound"), "{said}");
    server.environment.clear();
    server.start(None);
    let api = maps(&server).await;
    for name in acknowledged {
        api.get(&name).await.expect("acknowledged, so kept");
    }
}

/// A file system of its own, on a loop device.
struct SmallDisk {
    at: TempDir,
    _image: TempDir,
}

impl SmallDisk {
    /// None where no loop device can be mounted.
    fn new(megabytes: u64) -> Option<SmallDisk> {
        let image = tempfile::tempdir().expect("a directory");
        let at = tempfile::tempdir().expect("a directory");
        let file = image.path().join("image");
        File::create(&file).expect("made").set_len(megabytes << 20).expect("sized");
        let done = |mut command: Command| command.output().is_ok_and(|output| output.status.success());
        let (mut make, mut mount) = (Command::new("mkfs.ext4"), Command::new("mount"));
        make.args(["-q", "-F", "-m", "0"]).arg(&file);
        mount.args(["-o", "loop"]).arg(&file).arg(at.path());
        if nix::unistd::geteuid().is_root() && done(make) && done(mount) {
            return Some(SmallDisk { at, _image: image });
        }
        println!("skipped: a full disk: no root, or no loop device can be mounted");
        None
    }

    fn filler(&self, number: usize) -> PathBuf {
        self.at.path().join(format!("filler-{number}"))
    }

    /// Takes all room but so much.
    fn fill(&self, leave_megabytes: u64) {
        let disk = nix::sys::statvfs::statvfs(self.at.path()).expect("a disk");
        let free = disk.blocks_available() * disk.fragment_size();
        let number = (0..).find(|number| !self.filler(*number).exists()).expect("a name");
        let file = File::create(self.filler(number)).expect("made");
        let size = i64::try_from(free.saturating_sub(leave_megabytes << 20)).expect("fits");
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, size).expect("filled");
    }

    fn make_room(&self) {
        let fillers = (0..).map(|number| self.filler(number)).take_while(|path| path.exists());
        fillers.for_each(|path| fs::remove_file(path).expect("removed"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind may hold files.
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// Why a write is refused.
async fn refusal(maps: &Api<ConfigMap>, name: &str) -> String {
    match create(maps, name).await {
        Err(kube::Error::Api(status)) => status.message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else_until_it_has_room() {
    let Some(disk) = SmallDisk::new(1200) else { return };
    let mut server = Server::inside("a", disk.at.path());
    server.start(None);
    let api = maps(&server).await;
    for name in ["kept", "freed", "freed-later"] {
        create(&api, name).await.expect("there is room");
    }
    disk.fill(300);
    until("the full disk is noticed", || alarms(&server).contains("NOSPACE"));
    let why = refusal(&api, "refused").await;
    let place = disk.at.path().display().to_string();
    assert!(
        why.contains("the disk of server \"a\" is full") && why.contains(&place) && why.contains("free some"),
        "{why}"
    );
    api.get("kept").await.expect("reads go on");
    api.list(&ListParams::default()).await.expect("lists go on");
    api.delete("freed", &DeleteParams::default()).await.expect("deletions go on");
    assert!(server.ask(&["status"]).status.success());

    // It starts again with a full disk: how else would anybody delete something.
    server.kill();
    server.start(None);
    until("the full disk is noticed again", || alarms(&server).contains("NOSPACE"));
    let api = maps(&server).await;
    api.delete("freed-later", &DeleteParams::default()).await.expect("deletions go on");
    // Somebody else takes the rest as well.
    disk.fill(2);
    refusal(&api, "refused").await;
    api.get("kept").await.expect("reads go on");

    disk.make_room();
    until("room is noticed", || !alarms(&server).contains("NOSPACE"));
    create(&api, "after").await.expect("writes go on by themselves");
    server.kill();
    server.start(None);
    let api = maps(&server).await;
    for name in ["kept", "after"] {
        api.get(name).await.expect("acknowledged, so kept");
    }
    for name in ["freed", "freed-later", "refused"] {
        assert!(api.get_opt(name).await.expect("a look").is_none(), "{name} is there");
    }
}

#[tokio::test]
async fn a_full_disk_of_one_server_stops_no_cluster() {
    let Some(disk) = SmallDisk::new(1200) else { return };
    let servers = three_servers(vec![Server::new("a"), Server::inside("b", disk.at.path()), Server::new("c")]);
    let led = |by: &str| servers[0].ask_json(&["status"])["leader"] == by;
    let mut written = Vec::new();
    // As a follower, with clients of its own.
    if led("b") {
        assert!(servers[0].ask(&["member", "transfer-leader", "a"]).status.success());
    }
    disk.fill(300);
    until("the full disk is noticed", || alarms(&servers[1]).contains("NOSPACE"));
    for server in &servers {
        create(&maps(server).await, &format!("follows-{}", server.name)).await.expect("the leader has room");
        written.push(format!("follows-{}", server.name));
    }
    let refused = servers[0].ask(&["member", "transfer-leader", "b"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(4) && why.contains("server \"b\" does not take over, its disk is full"),
        "{why}"
    );
    // As the leader.
    disk.make_room();
    until("room is noticed", || !alarms(&servers[1]).contains("NOSPACE"));
    assert!(servers[0].ask(&["member", "transfer-leader", "b"]).status.success());
    until("b leads", || led("b"));
    disk.fill(300);
    until("another one leads", || !led("b"));
    for server in &servers {
        create(&maps(server).await, &format!("led-{}", server.name)).await.expect("the leader has room");
        written.push(format!("led-{}", server.name));
    }
    let all = maps(&servers[1]).await;
    for name in written {
        all.get(&name).await.expect("also on the full disk");
    }
}
