//! What volumes hold that are filled from the API.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

use super::token::Tokens;
use super::writer::{Content, File};
use crate::env::{self, Configs, Facts};
use crate::host::Host;

/// The mode of files for which none is given.
const MODE: i32 = 0o644;

/// What a config map or a secret holds.
type Data = std::collections::BTreeMap<String, Vec<u8>>;

/// Works out what a volume holds. Without `tokens`, a volume that has one is empty: nobody would use the access that it
/// gives.
///
/// # Errors
///
/// What is missing or wrong, for the user.
pub(super) async fn content(
    host: &Host,
    facts: &Facts<'_>,
    volume: &Volume,
    mut tokens: Option<&mut Tokens>,
) -> Result<Content, String> {
    let configs = Configs::new(host, facts.pod);
    let mut content = Content::new();
    if let Some(source) = &volume.config_map {
        let optional = source.optional == Some(true);
        let data = configs.config_map(&source.name, optional).await?;
        let items = source.items.as_deref().unwrap_or_default();
        content = select(data, items, source.default_mode, optional, "config")?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional == Some(true);
        let data = configs.secret(source.secret_name.as_deref().unwrap_or_default(), optional).await?;
        let items = source.items.as_deref().unwrap_or_default();
        content = select(data, items, source.default_mode, optional, "secret")?;
    } else if let Some(source) = &volume.downward_api {
        content = downward(facts, source.items.as_deref().unwrap_or_default(), source.default_mode)?;
    } else if let Some(projected) = &volume.projected {
        let has_token =
            projected.sources.iter().flatten().any(|source| source.service_account_token.is_some());
        if has_token && tokens.is_none() {
            return Ok(content);
        }
        for source in projected.sources.iter().flatten() {
            let part =
                project(host, &configs, facts, source, projected.default_mode, tokens.as_deref_mut()).await?;
            content.extend(part);
        }
    }
    Ok(content)
}

async fn project(
    host: &Host,
    configs: &Configs<'_>,
    facts: &Facts<'_>,
    source: &VolumeProjection,
    default_mode: Option<i32>,
    tokens: Option<&mut Tokens>,
) -> Result<Content, String> {
    if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let data = configs.config_map(&source.name, optional).await?;
        return select(data, source.items.as_deref().unwrap_or_default(), default_mode, optional, "config");
    }
    if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let data = configs.secret(&source.name, optional).await?;
        return select(data, source.items.as_deref().unwrap_or_default(), default_mode, optional, "secret");
    }
    if let Some(source) = &source.downward_api {
        return downward(facts, source.items.as_deref().unwrap_or_default(), default_mode);
    }
    if let (Some(source), Some(tokens)) = (&source.service_account_token, tokens) {
        let token = tokens.get(host, facts.pod, source).await?;
        return Ok([(source.path.clone(), file(token.into_bytes(), None, default_mode)?)].into());
    }
    Ok(Content::new())
}

/// Returns the files of a config map or a secret: those of `items`, or all.
fn select(
    data: Option<Data>,
    items: &[KeyToPath],
    default_mode: Option<i32>,
    optional: bool,
    kind: &str,
) -> Result<Content, String> {
    let mut data = data.unwrap_or_default();
    if items.is_empty() {
        return data.into_iter().map(|(key, bytes)| Ok((key, file(bytes, None, default_mode)?))).collect();
    }
    let mut content = Content::new();
    for item in items {
        match data.get_mut(&item.key) {
            Some(bytes) => {
                content.insert(item.path.clone(), file(bytes.clone(), item.mode, default_mode)?);
            }
            None if optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(content)
}

fn downward(
    facts: &Facts<'_>,
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
) -> Result<Content, String> {
    let mut content = Content::new();
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            env::field(facts, &reference.field_path)?
        } else if let Some(reference) = &item.resource_field_ref {
            let name = reference.container_name.as_deref().unwrap_or_default();
            let spec = facts.pod.spec.as_ref();
            let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
            let main = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
            let container = main.iter().chain(init).find(|container| container.name == name);
            let container = container.ok_or_else(|| format!("there is no container {name:?}"))?;
            env::resource(facts, container, reference)?
        } else {
            String::new()
        };
        content.insert(item.path.clone(), file(text.into_bytes(), item.mode, default_mode)?);
    }
    Ok(content)
}

fn file(data: Vec<u8>, mode: Option<i32>, default_mode: Option<i32>) -> Result<File, String> {
    let mode = mode.or(default_mode).unwrap_or(MODE);
    let mode = u32::try_from(mode).ok().filter(|mode| *mode <= 0o777);
    Ok(File { data, mode: mode.ok_or("a file's mode is out of range")? })
}
