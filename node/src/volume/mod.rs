//! Volumes of pods on this node's disk: made before the sandbox, kept fresh while it runs, removed after it.

mod atomic;
mod payload;
mod subpath;

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, PodStatus, Volume,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::mirror::Mirror;
use crate::plan::config::Mount;
use crate::plan::downward::Allocatable;
use crate::plan::{expand, quantity, spec, termination};
use crate::tokens::Sort;

/// Tokens of a pod, and why others are not there.
pub type Given = (BTreeMap<Sort, String>, Result<(), String>);

/// The folder of all pods' volumes.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

fn said<T>(result: std::io::Result<T>, what: &str, path: &Path) -> Result<T, String> {
    result.map_err(|e| format!("{what} {}: {e}", path.display()))
}

impl Volumes {
    /// Volumes under a folder.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of one pod.
    pub fn pod_dir(&self, pod: &Pod) -> PathBuf {
        self.root.join(pod.metadata.uid.as_deref().unwrap_or("unknown"))
    }

    fn dir(&self, pod: &Pod, volume: &str) -> PathBuf {
        self.pod_dir(pod).join("volumes").join(volume)
    }

    fn subpaths(&self, pod: &Pod) -> PathBuf {
        self.pod_dir(pod).join("volume-subpaths")
    }

    /// Puts a pod's volumes in place, or brings their files up to date. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What to tell the user.
    pub fn set_up(
        &self,
        pod: &Pod,
        status: &PodStatus,
        mirror: &Mirror,
        node: Allocatable,
        tokens: &Given,
    ) -> Result<(), String> {
        let pod_dir = self.pod_dir(pod);
        said(std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&pod_dir), "create", &pod_dir)?;
        let sources = payload::Sources { pod, status, mirror, node, tokens };
        for volume in spec::of(pod).volumes.iter().flatten() {
            self.one(pod, volume, &sources)
                .map_err(|e| format!("MountVolume.SetUp failed for volume \"{}\" : {e}", volume.name))?;
        }
        Ok(())
    }

    fn one(&self, pod: &Pod, volume: &Volume, sources: &payload::Sources<'_>) -> Result<(), String> {
        let dir = self.dir(pod, &volume.name);
        let group = spec::of(pod).security_context.as_ref().and_then(|s| s.fs_group);
        if let Some(path) = &volume.host_path {
            return host_path(path);
        }
        if volume.persistent_volume_claim.is_some() {
            return claimed(pod, volume, sources.mirror).and_then(|path| host_path(&path));
        }
        if let Some(empty) = &volume.empty_dir {
            let fresh = !dir.exists();
            make(&dir, 0o777)?;
            if fresh && empty.medium.as_deref() == Some("Memory") {
                let limit = empty.size_limit.as_ref().and_then(|q| quantity::value(&q.0));
                tmpfs(&dir, limit)?;
            }
            said(std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)), "open up", &dir)?;
            return own(&dir, group);
        }
        let Some(files) = payload::files(volume, sources, &dir.join(atomic::DATA))? else {
            return Err("this kind of volume is not supported by this agent".to_owned());
        };
        let secret = volume.secret.is_some() || volume.projected.is_some();
        let fresh = !dir.exists();
        make(&dir, 0o755)?;
        if secret && fresh {
            tmpfs(&dir, None)?;
        }
        said(atomic::write(&dir, &files, group), "write", &dir)
    }

    /// Where an instance of a container has its last words.
    pub fn last_words(&self, pod: &Pod, container: &str, restart: u32) -> PathBuf {
        self.pod_dir(pod).join("containers").join(container).join(restart.to_string())
    }

    /// The file for the last words of an instance, mounted where its container writes them.
    ///
    /// # Errors
    ///
    /// What to tell the user.
    pub fn last_words_mount(&self, pod: &Pod, container: &Container, restart: u32) -> Result<Mount, String> {
        let source = self.last_words(pod, &container.name, restart);
        let dir = source.parent().unwrap_or(&source);
        said(std::fs::create_dir_all(dir), "create", dir)?;
        said(std::fs::write(&source, ""), "create", &source)?;
        said(std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o666)), "open up", &source)?;
        let target = termination::path(container).to_owned();
        Ok(Mount { source, target, read_only: false, propagation: "rprivate" })
    }

    /// The pod's own file of names, mounted at its place. It is written in place: containers that run see it too.
    ///
    /// # Errors
    ///
    /// What to tell the user.
    pub fn hosts_mount(&self, pod: &Pod, text: &str, target: &str) -> Result<Mount, String> {
        let source = self.pod_dir(pod).join("etc-hosts");
        if std::fs::read_to_string(&source).ok().as_deref() != Some(text) {
            said(std::fs::write(&source, text), "write", &source)?;
            said(std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o644)), "open up", &source)?;
        }
        Ok(Mount { source, target: target.to_owned(), read_only: false, propagation: "rprivate" })
    }

    /// The mounts of one container, of volumes that are in place.
    ///
    /// # Errors
    ///
    /// What to tell the user.
    pub fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        env: &std::collections::BTreeMap<String, String>,
        mirror: &Mirror,
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for (at, wanted) in container.volume_mounts.iter().flatten().enumerate() {
            let volumes = spec::of(pod).volumes.as_deref().unwrap_or_default();
            let volume = volumes.iter().find(|v| v.name == wanted.name);
            let volume = volume.ok_or_else(|| format!("volume \"{}\" is not in the pod", wanted.name))?;
            let mut read_only = wanted.read_only == Some(true);
            let base = if let Some(path) = &volume.host_path {
                PathBuf::from(&path.path)
            } else if let Some(claim) = &volume.persistent_volume_claim {
                read_only |= claim.read_only == Some(true);
                PathBuf::from(claimed(pod, volume, mirror)?.path)
            } else {
                read_only |= volume.empty_dir.is_none();
                self.dir(pod, &volume.name)
            };
            let expanded = wanted.sub_path_expr.as_ref();
            let expanded = expanded.map(|e| expand::expand(e, |n| env.get(n).map(String::as_str)));
            let sub = wanted.sub_path.clone().or(expanded).filter(|s| !s.is_empty());
            let place = self.subpaths(pod).join(&container.name).join(at.to_string());
            let source = sub.map_or(Ok(base.clone()), |sub| subpath::hold(&base, &sub, &place))?;
            let propagation = match wanted.mount_propagation.as_deref() {
                Some("HostToContainer") => "rslave",
                Some("Bidirectional") => "rshared",
                _ => "rprivate",
            };
            mounts.push(Mount { source, target: wanted.mount_path.clone(), read_only, propagation });
        }
        Ok(mounts)
    }

    /// Removes everything of a pod. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What to tell the user.
    pub fn tear_down(&self, pod: &Pod) -> Result<(), String> {
        let dir = self.pod_dir(pod);
        said(subpath::release_all(&self.subpaths(pod)), "release the subPaths of", &dir)?;
        for entry in std::fs::read_dir(dir.join("volumes")).into_iter().flatten().flatten() {
            // A folder that is no mount point says EINVAL; one that stays mounted makes the removal fail.
            let _ = umount2(&entry.path(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("remove {}: {e}", dir.display())),
            _ => Ok(()),
        }
    }
}

fn make(dir: &Path, mode: u32) -> Result<(), String> {
    said(std::fs::create_dir_all(dir), "create", dir)?;
    said(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)), "set the mode of", dir)
}

fn own(path: &Path, group: Option<i64>) -> Result<(), String> {
    let Some(group) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    said(std::os::unix::fs::chown(path, None, Some(group)), "give to the group", path)?;
    said(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2777)), "set the mode of", path)
}

/// Memory as a file system; without the right to mount, the folder itself stands for it, and the log says so.
fn tmpfs(dir: &Path, size_bytes: Option<i64>) -> Result<(), String> {
    let options = size_bytes.map_or_else(|| "mode=0777".to_owned(), |bytes| format!("mode=0777,size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    match mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options.as_str())) {
        Err(nix::errno::Errno::EPERM) => {
            tracing::warn!(dir = %dir.display(), "no right to mount a tmpfs: a volume in memory lies on disk");
            Ok(())
        }
        other => other.map_err(|e| format!("mount tmpfs on {}: {e}", dir.display())),
    }
}

fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if matches!(kind, "" | "DirectoryOrCreate") && !path.exists() {
        return said(std::fs::create_dir_all(path), "create", path);
    }
    if kind == "FileOrCreate" && !path.exists() {
        return said(std::fs::File::create(path), "create", path).map(|_| ());
    }
    let found = std::fs::metadata(path).map_err(|e| format!("hostPath {}: {e}", source.path))?.file_type();
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {kind}", source.path)) }
}

/// The folder behind a claim: of a hostPath or local PersistentVolume.
fn claimed(pod: &Pod, volume: &Volume, mirror: &Mirror) -> Result<HostPathVolumeSource, String> {
    let name = volume.persistent_volume_claim.as_ref().map(|c| c.claim_name.as_str()).unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claim: Option<PersistentVolumeClaim> = mirror.get("persistentvolumeclaims", namespace, name);
    let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
    let bound = claim.spec.and_then(|s| s.volume_name).filter(|v| !v.is_empty());
    let bound = bound.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" is not bound"))?;
    let found: Option<PersistentVolume> = mirror.get("persistentvolumes", "", &bound);
    let of = found.and_then(|v| v.spec).ok_or_else(|| format!("persistentvolume \"{bound}\" not found"))?;
    match (of.host_path, of.local) {
        (Some(path), _) => Ok(path),
        (None, Some(local)) => Ok(HostPathVolumeSource { path: local.path, type_: None }),
        _ => Err(format!("persistentvolume \"{bound}\" is neither hostPath nor local")),
    }
}
