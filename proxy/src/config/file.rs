//! Services and endpoints from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use quarterdeck_core::client::ObjectKey;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ServiceTable;
use super::endpoints::Nodes;
use super::resolve::{resolve, service_of};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// For how long a change must last: an editor may not have finished.
const SETTLE: Duration = Duration::from_millis(200);

/// Why a file says nothing about services.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It is neither YAML nor JSON.
    #[error("cannot parse {0}")]
    Parse(PathBuf, #[source] Box<serde_saphyr::Error>),
    /// It holds nothing. No services are a list without items.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// It holds something else than services and endpoints.
    #[error("document {document} of {file}: {reason}")]
    Object {
        /// The file.
        file: PathBuf,
        /// The document's number, from 1.
        document: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a file says.
#[derive(Debug, Default)]
struct Objects {
    services: Vec<Service>,
    slices: BTreeMap<ObjectKey, Vec<Arc<EndpointSlice>>>,
    endpoints: BTreeMap<ObjectKey, Endpoints>,
}

/// Keeps `table` equal to what the file says, for ever. A file that cannot be read or understood changes nothing, except that
/// the first reading must succeed.
pub(crate) async fn follow(
    file: &Path,
    nodes: &Nodes,
    table: &ServiceTable,
) -> Result<Infallible, FileError> {
    let mut read = load(file).await?;
    apply(&parse(file, &read)?, nodes, table);
    table.set_complete();
    let mut known_problem = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let problem = match load(file).await {
            Ok(now) if now == read => None,
            Ok(now) => {
                tokio::time::sleep(SETTLE).await;
                if load(file).await.is_ok_and(|later| later != now) {
                    continue;
                }
                let parsed = parse(file, &now);
                read = now;
                parsed.map(|objects| apply(&objects, nodes, table)).err()
            }
            Err(error) => Some(error),
        };
        // A bad file is told about when it is read; one that is missing, once.
        if let Some(problem) = problem {
            let problem = crate::proxy::reason(&problem);
            if known_problem.as_ref() != Some(&problem) {
                tracing::warn!(problem, "services stay as they were");
            }
            known_problem = Some(problem);
        }
    }
}

async fn load(file: &Path) -> Result<String, FileError> {
    tokio::fs::read_to_string(file).await.map_err(|error| FileError::Read(file.into(), error))
}

fn apply(objects: &Objects, nodes: &Nodes, table: &ServiceTable) {
    let mut named = BTreeSet::new();
    for service in &objects.services {
        let key = ObjectKey::of(service);
        let slices = objects.slices.get(&key).map(Vec::as_slice).unwrap_or_default();
        table.set(&key, resolve(service, slices, objects.endpoints.get(&key), nodes));
        named.insert(key);
    }
    for gone in table.services().into_iter().filter(|known| !named.contains(known)) {
        table.remove(&gone);
    }
}

fn parse(file: &Path, text: &str) -> Result<Objects, FileError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| FileError::Parse(file.into(), error.into()))?;
    if documents.iter().all(Value::is_null) {
        return Err(FileError::Empty(file.into()));
    }
    let mut objects = Objects::default();
    for (index, document) in documents.into_iter().enumerate() {
        objects.add(document).map_err(|reason| FileError::Object {
            file: file.into(),
            document: index + 1,
            reason,
        })?;
    }
    Ok(objects)
}

impl Objects {
    fn add(&mut self, mut object: Value) -> Result<(), String> {
        if object.is_null() {
            return Ok(());
        }
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "Service" => self.services.push(read(object)?),
            "Endpoints" => {
                let endpoints: Endpoints = read(object)?;
                self.endpoints.insert(ObjectKey::of(&endpoints), endpoints);
            }
            "EndpointSlice" => {
                let slice: EndpointSlice = read(object)?;
                let service = service_of(&slice);
                let service = service.ok_or("a slice needs the label kubernetes.io/service-name")?;
                self.slices.entry(service).or_default().push(Arc::new(slice));
            }
            list if list.ends_with("List") => {
                let of = list.strip_suffix("List").unwrap_or_default();
                let version = object["apiVersion"].clone();
                let Value::Array(items) = object["items"].take() else {
                    return Err("a list needs items".into());
                };
                for mut item in items {
                    // The items of a list of one kind do not say theirs.
                    if item["kind"].is_null() && !of.is_empty() {
                        item["kind"] = of.into();
                        item["apiVersion"] = version.clone();
                    }
                    self.add(item)?;
                }
            }
            "" => return Err("it has no kind".into()),
            other => return Err(format!("{other} is neither Service, Endpoints nor EndpointSlice")),
        }
        Ok(())
    }
}

fn read<K: DeserializeOwned>(mut object: Value) -> Result<K, String> {
    let metadata = &mut object["metadata"];
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        return Err("it has no name".into());
    }
    if metadata["namespace"].is_null() {
        metadata["namespace"] = "default".into();
    }
    serde_json::from_value(object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::reason;

    const TWO: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.254.0.7
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: EndpointsList
items:
- metadata: {name: web}
  subsets: [{addresses: [{ip: 10.1.0.1}], ports: [{port: 8080}]}]
---
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "namespace": "kube-system"},
   "spec": {"clusterIP": "10.254.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}},
  {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
   "metadata": {"name": "dns-1", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "dns"}},
   "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
   "endpoints": [{"addresses": ["10.1.0.2"]}]}
]}
"#;

    fn backends(table: &ServiceTable) -> Vec<(String, Vec<String>)> {
        let backends = |key: &ObjectKey| {
            let ports = table.get(key);
            ports[0].backends.as_slice().iter().map(|backend| backend.0.to_string()).collect()
        };
        table.services().iter().map(|key| (key.to_string(), backends(key))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TWO).unwrap();
        let (table, nodes) = (ServiceTable::new(), Nodes::new());
        let both = [("default/web", "10.1.0.1:8080"), ("kube-system/dns", "10.1.0.2:53")]
            .map(|(service, backend)| (service.to_owned(), vec![backend.to_owned()]));

        let changes = async {
            table.completed().await;
            assert_eq!(backends(&table), both);

            for bad in ["kind: Service\n", "{", "kind: Pod"] {
                std::fs::write(file.path(), bad).unwrap();
                tokio::time::sleep(INTERVAL * 2).await;
                assert_eq!(backends(&table), both);
            }
            std::fs::remove_file(file.path()).unwrap();
            tokio::time::sleep(INTERVAL * 2).await;
            assert_eq!(backends(&table), both);

            let one = TWO.replace("10.1.0.1", "10.1.0.9");
            std::fs::write(file.path(), one.split("---\n{").next().unwrap()).unwrap();
            tokio::time::sleep(INTERVAL * 2).await;
            assert_eq!(backends(&table), [("default/web".to_owned(), vec!["10.1.0.9:8080".to_owned()])]);
        };
        tokio::select! {
            biased;
            Err(error) = follow(file.path(), &nodes, &table) => panic!("{error}"),
            () = changes => {}
        }
    }

    #[tokio::test]
    async fn the_first_reading_says_what_is_wrong_and_where() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let cases = [
            ("kind: Service\n---\nkind: Service\n", format!("document 1 of {path}: it has no name")),
            (
                "---\nkind: Pod",
                format!("document 1 of {path}: Pod is neither Service, Endpoints nor EndpointSlice"),
            ),
            ("metadata: {}", format!("document 1 of {path}: it has no kind")),
            (
                "{kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: []}",
                format!("document 1 of {path}: a slice needs the label kubernetes.io/service-name"),
            ),
            ("", format!("{path} is empty")),
            ("---\n# nothing\n", format!("{path} is empty")),
            ("{", format!("cannot parse {path}: ")),
            ("kind: [", format!("cannot parse {path}: ")),
        ];

        for (text, expected) in cases {
            std::fs::write(file.path(), text).unwrap();
            let Err(error) = follow(file.path(), &Nodes::new(), &ServiceTable::new()).await;
            assert!(reason(&error).starts_with(&expected), "{}", reason(&error));
        }
    }
}
