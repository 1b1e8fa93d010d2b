//! The files of a ConfigMap, Secret, downward API or projected volume, as values.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, PodStatus, Secret, ServiceAccountTokenProjection, Volume,
};

use crate::mirror::Mirror;
use crate::plan::downward::{self, Allocatable};
use crate::tokens::sort;
use crate::volume::Given;

/// Path in the volume to content and mode.
pub(super) type Files = BTreeMap<String, (Vec<u8>, u32)>;

pub(super) struct Sources<'a> {
    pub(super) pod: &'a Pod,
    pub(super) status: &'a PodStatus,
    pub(super) mirror: &'a Mirror,
    pub(super) node: Allocatable,
    pub(super) tokens: &'a Given,
}

/// The files of a volume, of which `held` is the last version; None when it is of another kind.
pub(super) fn files(volume: &Volume, from: &Sources<'_>, held: &Path) -> Result<Option<Files>, String> {
    let mut files = Files::new();
    if let Some(map) = &volume.config_map {
        let data = from.config_map(&map.name, map.optional)?;
        project(&mut files, data, map.items.as_deref(), map.default_mode, map.optional)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let data = from.secret(name, secret.optional)?;
        project(&mut files, data, secret.items.as_deref(), secret.default_mode, secret.optional)?;
    } else if let Some(downward) = &volume.downward_api {
        from.downward(&mut files, downward.items.as_deref(), downward.default_mode)?;
    } else if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            let mode = projected.default_mode;
            if let Some(map) = &source.config_map {
                let data = from.config_map(&map.name, map.optional)?;
                project(&mut files, data, map.items.as_deref(), mode, map.optional)?;
            } else if let Some(secret) = &source.secret {
                let data = from.secret(&secret.name, secret.optional)?;
                project(&mut files, data, secret.items.as_deref(), mode, secret.optional)?;
            } else if let Some(downward) = &source.downward_api {
                from.downward(&mut files, downward.items.as_deref(), mode)?;
            } else if let Some(token) = &source.service_account_token {
                files.insert(token.path.clone(), (from.token(token, held)?, bits(mode)));
            } else {
                return Err("this kind of projected source is not supported by this agent".to_owned());
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

type Data = BTreeMap<String, Vec<u8>>;

impl Sources<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Data, String> {
        let map: Option<ConfigMap> = self.mirror.get("configmaps", self.namespace(), name);
        let Some(map) = map else { return missing("configmap", name, optional) };
        let text = map.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes()));
        Ok(text.chain(map.binary_data.into_iter().flatten().map(|(k, v)| (k, v.0))).collect())
    }

    fn secret(&self, name: &str, optional: Option<bool>) -> Result<Data, String> {
        let secret: Option<Secret> = self.mirror.get("secrets", self.namespace(), name);
        let Some(secret) = secret else { return missing("secret", name, optional) };
        Ok(secret.data.into_iter().flatten().map(|(k, v)| (k, v.0)).collect())
    }

    /// A token; the last one stays where no server can be asked.
    fn token(&self, wanted: &ServiceAccountTokenProjection, held: &Path) -> Result<Vec<u8>, String> {
        let (tokens, result) = self.tokens;
        if let Some(token) = tokens.get(&sort(wanted)) {
            return Ok(token.clone().into_bytes());
        }
        let why = result.clone().err().unwrap_or_else(|| "there is none".to_owned());
        std::fs::read(held.join(&wanted.path)).map_err(|_| format!("failed to fetch token: {why}"))
    }

    fn downward(
        &self,
        files: &mut Files,
        items: Option<&[DownwardAPIVolumeFile]>,
        mode: Option<i32>,
    ) -> Result<(), String> {
        for item in items.unwrap_or_default() {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => downward::field(self.pod, self.status, &field.field_path),
                (None, Some(resource)) => downward::resource(self.pod, None, resource, self.node),
                (None, None) => None,
            };
            let text = text.ok_or_else(|| format!("downward API item \"{}\" names nothing known", item.path))?;
            files.insert(item.path.clone(), (text.into_bytes(), bits(item.mode.or(mode))));
        }
        Ok(())
    }
}

fn missing(what: &str, name: &str, optional: Option<bool>) -> Result<Data, String> {
    if optional == Some(true) { Ok(Data::new()) } else { Err(format!("{what} \"{name}\" not found")) }
}

fn bits(mode: Option<i32>) -> u32 {
    mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644)
}

fn project(
    files: &mut Files,
    mut data: Data,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<(), String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        files.extend(data.into_iter().map(|(key, content)| (key, (content, bits(mode)))));
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(content) => {
                files.insert(item.path.clone(), (content, bits(item.mode.or(mode))));
            }
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}
