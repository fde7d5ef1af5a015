//! The client: objects, typed, dynamic and by their metadata alone, and what the server says it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
    ValidationDirective,
};
use kube::core::{GroupVersionKind, PartialObjectMetaExt as _};
use kube::discovery::{self, Discovery, Scope};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use quarterdeck::prelude::{MemoryStorage, User};
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::front::{Front, server};
use crate::{refusal, soon};

fn map(name: &str, data: &Value) -> ConfigMap {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    serde_json::from_value(map).unwrap()
}

async fn started() -> (ApiServer, Front, Client) {
    let server = server(Arc::new(MemoryStorage::new())).await;
    let front = Front::of(&server).await;
    let client = front.client().await;
    (server, front, client)
}

#[tokio::test]
async fn an_object_is_made_read_changed_listed_and_deleted() {
    let (_server, _front, client) = started().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());

    let made = maps.create(&PostParams::default(), &map("a", &json!({"k": "v"}))).await.unwrap();
    let twice = maps.create(&PostParams::default(), &map("a", &json!({}))).await;
    let mut newer = maps.get("a").await.unwrap();
    newer.data.get_or_insert_default().insert("l".into(), "w".into());
    let replaced = maps.replace("a", &PostParams::default(), &newer).await.unwrap();
    let stale = maps.replace("a", &PostParams::default(), &newer).await;
    let merged =
        maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"k": null}}))).await.unwrap();
    let labels = Patch::Strategic(json!({"metadata": {"labels": {"app": "web"}}}));
    maps.patch("a", &PatchParams::default(), &labels).await.unwrap();
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    maps.patch("a", &dry, &Patch::Merge(json!({"data": {"dry": "run"}}))).await.unwrap();
    let listed = maps.list(&ListParams::default().labels("app=web").fields("metadata.name=a")).await.unwrap();
    let deleted = maps.delete("a", &DeleteParams::default()).await.unwrap();

    assert_eq!(refusal(twice), 409);
    assert_eq!(replaced.data.unwrap().len(), 2);
    assert_eq!(refusal(stale), 409);
    assert_eq!(merged.data.unwrap(), BTreeMap::from([("l".to_owned(), "w".to_owned())]));
    assert_eq!(listed.items.len(), 1);
    assert_eq!(listed.items[0].data.as_ref().unwrap().len(), 1, "a dry run changes nothing");
    let status = deleted.right().expect("a deleted config map is answered with a Status");
    assert!(status.is_success());
    assert_eq!(status.details.unwrap().uid, made.metadata.uid.unwrap());
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
}

#[tokio::test]
async fn an_entry_is_made_or_changed_and_committed() {
    let (_server, _front, client) = started().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);

    for number in ["1", "2"] {
        let entry = maps.entry("a").await.unwrap();
        let mut entry = entry
            .and_modify(|map| _ = map.data.get_or_insert_default().insert("changed".into(), number.into()))
            .or_insert(|| map("a", &json!({"made": number})));
        entry.commit(&PostParams::default()).await.unwrap();
    }

    let data = maps.get("a").await.unwrap().data.unwrap();
    assert_eq!(json!(data), json!({"made": "1", "changed": "2"}));
}

#[tokio::test]
async fn pages_are_read_one_after_another() {
    let (_server, _front, client) = started().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0..7 {
        maps.create(&PostParams::default(), &map(&format!("m{number}"), &json!({}))).await.unwrap();
    }
    let mut params = ListParams::default().limit(3);
    let (mut names, mut remaining, mut revisions) = (Vec::new(), Vec::new(), Vec::new());

    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.items.iter().map(|map| map.name_any()));
        remaining.push(page.metadata.remaining_item_count);
        revisions.push(page.metadata.resource_version);
        maps.delete(&format!("m{}", 7 - revisions.len()), &DeleteParams::default()).await.unwrap();
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => break,
        }
    }

    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"], "whatever is deleted meanwhile");
    assert_eq!(remaining, [Some(4), Some(1), None]);
    assert!(revisions.iter().all(|revision| *revision == revisions[0]), "{revisions:?}");
    assert_eq!(refusal(maps.list(&ListParams::default().continue_token("none")).await), 400);
    let deleted = maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    assert!(deleted.is_left() || deleted.is_right());
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn what_is_applied_conflicts_is_forced_and_goes_when_it_is_left_out() {
    let (_server, _front, client) = started().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let apply = async |manager: &str, data: Value| {
        maps.patch("a", &PatchParams::apply(manager), &Patch::Apply(&map("a", &data))).await
    };

    apply("one", json!({"k": "1", "l": "1"})).await.unwrap();
    apply("two", json!({"m": "2", "l": "1"})).await.unwrap();
    let refused = apply("two", json!({"m": "2", "l": "2"})).await;
    let Err(kube::Error::Api(status)) = refused else { panic!("it conflicts: {refused:?}") };
    let forced = PatchParams::apply("two").force();
    let patch = Patch::Apply(map("a", &json!({"m": "2", "l": "2"})));
    maps.patch("a", &forced, &patch).await.unwrap();
    let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let left = maps.patch("a", &PatchParams::apply("one"), &Patch::Apply(&nothing)).await.unwrap();
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "dta": {"k": "v"}});
    let strict =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("one") };
    let unknown = maps.patch("a", &strict, &Patch::Apply(&unknown)).await;

    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.l");
    let causes = status.details.unwrap().causes;
    assert_eq!((causes[0].field.as_str(), causes[0].reason.as_str()), (".data.l", "FieldManagerConflict"));
    assert_eq!(json!(left.data), json!({"l": "2", "m": "2"}));
    assert!(matches!(refusal(unknown), 400 | 422 | 500), "an unknown field is strictly refused");
    let managers: Vec<_> = left.managed_fields().iter().map(|entry| entry.manager.clone().unwrap()).collect();
    assert_eq!(managers, ["two"], "who applies nothing owns nothing");
}

#[tokio::test]
async fn metadata_alone_is_read_listed_and_changed() {
    let (_server, front, _client) = started().await;
    let (client, mut requests) = front.observed_client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("a", &json!({"k": "v"}))).await.unwrap();
    requests.all();

    let one = maps.get_metadata("a").await.unwrap();
    let (_, accept) = requests.next().await;
    let listed = maps.list_metadata(&ListParams::default()).await.unwrap();
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let partial =
        ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }.into_request_partial::<ConfigMap>();
    let patched =
        maps.patch_metadata("a", &PatchParams::apply("labels"), &Patch::Apply(&partial)).await.unwrap();
    let missing = maps.get_metadata_opt("none").await.unwrap();

    assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
    let types = one.types.clone().unwrap();
    assert_eq!(
        (types.kind.as_str(), types.api_version.as_str()),
        ("PartialObjectMetadata", "meta.k8s.io/v1")
    );
    assert_eq!(listed.types.kind, "PartialObjectMetadataList");
    assert_eq!(listed.items[0].metadata.uid, one.metadata.uid);
    assert_eq!(patched.labels()["app"], "web");
    assert!(missing.is_none());
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["k"], "v", "the rest is untouched");
}

/// What discovery says of each version of each group: its resources with their scopes, verbs and subresources.
fn known(discovery: &Discovery) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for group in discovery.groups() {
        for version in group.versions() {
            let mut lines: Vec<String> = Vec::new();
            for (resource, capabilities) in group.versioned_resources(version) {
                let mut verbs = capabilities.operations.clone();
                verbs.sort();
                let mut subresources: Vec<_> =
                    capabilities.subresources.iter().map(|(resource, _)| resource.plural.clone()).collect();
                subresources.sort();
                let scope = matches!(capabilities.scope, Scope::Namespaced);
                lines.push(format!(
                    "{} {} {scope} {verbs:?} {subresources:?}",
                    resource.plural, resource.kind
                ));
            }
            lines.sort();
            all.insert(format!("{}/{version}", group.name()), lines);
        }
    }
    all
}

const SHIPS: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "ships.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "ships", "kind": "Ship"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema":
            {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}"#;

#[tokio::test]
async fn both_forms_of_discovery_tell_the_same_and_lead_to_custom_objects() {
    let (_server, _front, client) = started().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &serde_json::from_str(SHIPS).unwrap()).await.unwrap();
    let established = await_condition(definitions, "ships.example.com", conditions::is_crd_established());
    soon("the definition is established", established).await.unwrap();

    let plain = Discovery::new(client.clone()).run().await.unwrap();
    let aggregated = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    let kind = GroupVersionKind::gvk("example.com", "v1", "Ship");
    let (resource, capabilities) = aggregated.resolve_gvk(&kind).expect("the kind is discovered");
    let (pinned, _) = discovery::pinned_kind(&client, &kind).await.unwrap();
    let apps = discovery::group(&client, "apps").await.unwrap();

    assert_eq!(known(&plain), known(&aggregated));
    assert!(known(&plain).len() > 20, "{:?}", known(&plain).keys());
    assert_eq!(pinned, resource);
    assert_eq!(apps.recommended_kind("Deployment").unwrap().0.plural, "deployments");
    assert!(capabilities.supports_operation(discovery::verbs::PATCH));
    let ships: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let ship = DynamicObject::new("one", &resource).data(json!({"spec": {"sails": 3}}));
    let made = ships.create(&PostParams::default(), &ship).await.unwrap();
    let more = json!({"apiVersion": "example.com/v1", "kind": "Ship", "spec": {"masts": 2}});
    let applied = ships.patch("one", &PatchParams::apply("masts"), &Patch::Apply(&more)).await.unwrap();
    let status = json!({"status": {"afloat": true}});
    let afloat = ships.patch_status("one", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let mut newer = ships.get("one").await.unwrap();
    newer.data["spec"]["sails"] = json!(4);
    newer.data["status"] = json!({});
    let replaced = ships.replace("one", &PostParams::default(), &newer).await.unwrap();
    ships.delete("one", &DeleteParams::default()).await.unwrap();
    assert_eq!(made.types.clone().unwrap().kind, "Ship");
    assert_eq!(applied.data["spec"], json!({"sails": 3, "masts": 2}));
    assert_eq!(afloat.data["status"], json!({"afloat": true}));
    assert_eq!(replaced.data, json!({"spec": {"sails": 4, "masts": 2}, "status": {"afloat": true}}));
    assert!(ships.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn who_is_nobody_s_friend_may_do_nothing() {
    let (_server, front, _client) = started().await;
    let stranger = front.client_as(&User::new("stranger")).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(stranger.clone());
    let namespaces: Api<Namespace> = Api::all(stranger.clone());

    let Err(kube::Error::Api(status)) = maps.get("a").await else { panic!("a stranger may read") };

    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert!(
        status.message.contains(r#"User "stranger" cannot get resource "configmaps""#),
        "{}",
        status.message
    );
    assert_eq!(refusal(namespaces.list(&ListParams::default()).await), 403);
    assert!(Discovery::new(stranger).run().await.is_ok(), "what there is, everybody who is known may read");
}
