//! Which form an answer takes, and which form a body has.

use http::{HeaderMap, HeaderValue, header};

use crate::request::Query;
use crate::resource::Resource;
use crate::status::{Result, Status};
use crate::table::{IncludeObject, MetaVersion};

/// The media types that objects are answered in.
pub(crate) const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The media types that watches are answered in.
const STREAMED: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
/// The media types of the patches that built-in kinds take.
const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, \
                                  application/strategic-merge-patch+json, application/apply-patch+yaml";

/// The media type of a configuration that is applied, in YAML or JSON.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// How many media ranges of a request are looked at.
const MAX_RANGES: usize = 64;

/// Returns the media types of the patches that a kind takes: custom ones know no strategic merge.
pub(crate) fn patches(resource: &Resource) -> impl Iterator<Item = &'static str> {
    let is_custom = resource.custom.is_some();
    PATCHES.split(", ").filter(move |media_type| !is_custom || !media_type.contains("strategic"))
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// How it is written.
    pub encoding: Encoding,
    /// What is written.
    pub shape: Shape,
    /// Whether it is written for people, over several lines.
    pub pretty: bool,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The protobuf of built-in kinds, in an envelope.
    Protobuf,
}

/// What of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object.
    Object,
    /// A `Table` of `meta.k8s.io` in this version, with rows that carry this much of their objects.
    Table(MetaVersion, IncludeObject),
    /// `PartialObjectMetadata`: kind, apiVersion and metadata.
    Metadata(MetaVersion),
    /// `PartialObjectMetadataList`.
    MetadataList(MetaVersion),
}

/// One media range of an `Accept` header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MediaRange<'a> {
    /// The type, such as `application/json` or `*/*`.
    pub media_type: &'a str,
    /// The parameters but `q`, in order.
    pub parameters: Vec<(&'a str, &'a str)>,
}

/// Takes `Accept` headers apart, the most wanted first.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<MediaRange<'_>> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges: Vec<(f32, MediaRange<'_>)> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .take(MAX_RANGES)
        .map(media_range)
        // A quality of zero is how a client says what it does not take.
        .filter(|(quality, _)| *quality > 0.0)
        .collect();
    ranges.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    ranges.into_iter().map(|(_, range)| range).collect()
}

fn media_range(text: &str) -> (f32, MediaRange<'_>) {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let mut quality = 1.0;
    let mut parameters = Vec::new();
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "q" => quality = value.parse().unwrap_or(1.0),
            _ => parameters.push((name, value)),
        }
    }
    (quality, MediaRange { media_type, parameters })
}

impl<'a> MediaRange<'a> {
    /// Returns the value of a parameter.
    #[must_use]
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

impl Form {
    /// Chooses the form of an answer that is an object or a list.
    ///
    /// # Errors
    ///
    /// 406 if nothing that is accepted can be answered.
    pub(crate) fn choose(
        headers: &HeaderMap,
        query: &Query,
        is_list: bool,
        resource: &Resource,
    ) -> Result<Self> {
        let pretty = is_pretty(headers, query);
        let include = IncludeObject::parse(query.get("includeObject").unwrap_or_default());
        if accepts_anything(headers) {
            return Ok(Self { encoding: Encoding::Json, shape: Shape::Object, pretty });
        }
        let ranges = accepted(headers);
        let form = ranges.iter().find_map(|range| {
            let encoding = encoding(range.media_type)?;
            let pretty = pretty || range.parameter("pretty") == Some("1");
            let shape = shape(range, encoding, include.clone().unwrap_or_default())?;
            Some(Self { encoding, shape, pretty })
        });
        let form = form.ok_or_else(nothing_acceptable)?;
        match form.shape {
            Shape::Table(..) if include.is_err() => {
                Err(Status::bad_request(include.err().map(|error| error.to_string()).unwrap_or_default()))
            }
            Shape::Metadata(_) if is_list => Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
                internal_type(resource)
            ))),
            Shape::MetadataList(_) if !is_list => Err(Status::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                internal_type(resource)
            ))),
            _ => Ok(form),
        }
    }

    /// Chooses the form of the objects in a watch's events. Only what can be cut into events is: there is no YAML.
    ///
    /// # Errors
    ///
    /// 406 if nothing that is accepted can be answered.
    pub(crate) fn choose_for_watch(headers: &HeaderMap, query: &Query) -> Result<Self> {
        let include = IncludeObject::parse(query.get("includeObject").unwrap_or_default());
        let include = include.map_err(|error| Status::bad_request(error.to_string()))?;
        let form = |encoding, shape| Self { encoding, shape, pretty: false };
        if accepts_anything(headers) {
            return Ok(form(Encoding::Json, Shape::Object));
        }
        let found = accepted(headers).iter().find_map(|range| {
            let encoding = encoding(range.media_type).filter(|encoding| *encoding != Encoding::Yaml)?;
            Some(form(encoding, shape(range, encoding, include)?))
        });
        found.ok_or_else(|| {
            Status::not_acceptable(format!("only the following media types are accepted: {STREAMED}"))
        })
    }

    /// Returns the media type that a watch's answer declares.
    #[must_use]
    pub(crate) fn stream_type(self) -> &'static str {
        match self.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => self.content_type(),
        }
    }

    /// Returns the media type that the answer declares.
    #[must_use]
    pub(crate) fn content_type(self) -> &'static str {
        match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Returns whether stored text can be answered as it is.
    #[must_use]
    pub(crate) fn is_plain(self) -> bool {
        self.encoding == Encoding::Json && self.shape == Shape::Object && !self.pretty
    }
}

/// Chooses the form of an answer that has neither a table nor a metadata form, such as a discovery document.
///
/// # Errors
///
/// 406 if nothing that is accepted can be answered.
pub(crate) fn plain_form(headers: &HeaderMap, query: &Query) -> Result<Form> {
    let pretty = is_pretty(headers, query);
    if accepts_anything(headers) {
        return Ok(Form { encoding: Encoding::Json, shape: Shape::Object, pretty });
    }
    let ranges = accepted(headers);
    let plain = ranges.iter().filter(|range| range.parameter("as").is_none());
    let encoding = plain.filter_map(|range| encoding(range.media_type)).next();
    Ok(Form { encoding: encoding.ok_or_else(nothing_acceptable)?, shape: Shape::Object, pretty })
}

/// The Go type that upstream holds objects of a kind in.
pub(crate) fn internal_type(resource: &Resource) -> String {
    if resource.custom.is_some() {
        return "unstructured.Unstructured".into();
    }
    go_type(resource.layout().group, &resource.kind)
}

/// The Go type that upstream holds objects of a built-in group's kind in.
pub(crate) fn go_type(group: &str, kind: &str) -> String {
    let package = group.split('.').next().filter(|package| !package.is_empty());
    format!("{}.{kind}", package.unwrap_or("core"))
}

/// Returns whether a client says nothing of what it accepts.
fn accepts_anything(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.all(|value| value.as_bytes().iter().all(u8::is_ascii_whitespace))
}

fn nothing_acceptable() -> Status {
    Status::not_acceptable(format!("only the following media types are accepted: {SERVED}"))
}

fn encoding(media_type: &str) -> Option<Encoding> {
    match media_type {
        "application/json" | "application/*" | "*/*" | "*" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// Returns how a `Status` is written for a client that accepts these: as JSON unless it wants something else first.
#[must_use]
pub(crate) fn preferred(ranges: &[MediaRange<'_>]) -> Encoding {
    ranges.iter().find_map(|range| encoding(range.media_type)).unwrap_or(Encoding::Json)
}

fn shape(range: &MediaRange<'_>, encoding: Encoding, include: IncludeObject) -> Option<Shape> {
    let Some(what) = range.parameter("as") else { return Some(Shape::Object) };
    if range.parameter("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = MetaVersion::parse(range.parameter("v")?)?;
    match what {
        "Table" if encoding != Encoding::Protobuf => Some(Shape::Table(version, include)),
        "PartialObjectMetadata" => Some(Shape::Metadata(version)),
        "PartialObjectMetadataList" => Some(Shape::MetadataList(version)),
        _ => None,
    }
}

/// Returns whether JSON is written for people: as asked, or, when nobody said, for curl and browsers.
#[must_use]
pub(crate) fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(pretty) = query.non_empty("pretty") {
        return matches!(pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|reader| agent.starts_with(reader))
}

/// Returns whether an answer may be compressed.
#[must_use]
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip"
            && quality.trim().strip_prefix("q=").is_none_or(|quality| quality.parse() != Ok(0.0))
    })
}

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyForm {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The protobuf of built-in kinds, in an envelope.
    Protobuf,
}

impl BodyForm {
    /// Reads what a request says of its body. A body of no declared type is JSON.
    ///
    /// # Errors
    ///
    /// 415 for a type that the server does not read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        match media_type(headers).to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            _ => Err(Status::unsupported_media_type(SERVED)),
        }
    }
}

/// Takes protobuf off what a client accepts: custom kinds have none.
///
/// # Errors
///
/// 406 if the client accepts nothing else.
pub(crate) fn refuse_protobuf(headers: &mut HeaderMap) -> Result<()> {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let given: Vec<&str> = given.flat_map(|value| value.split(',')).collect();
    if given.iter().all(|range| !range.contains(PROTOBUF)) {
        return Ok(());
    }
    let others: Vec<&str> = given.into_iter().filter(|range| !range.contains(PROTOBUF)).collect();
    let others = HeaderValue::from_str(&others.join(",")).ok().filter(|others| !others.is_empty());
    headers.remove(header::ACCEPT);
    let Some(others) = others else {
        return Err(Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml",
        ));
    };
    headers.insert(header::ACCEPT, others);
    Ok(())
}

/// Returns the declared type of a request's body, without its parameters.
#[must_use]
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Scope;

    fn choose(accept: &str) -> Result<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        let config_maps = Resource::builtin("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
        Form::choose(&headers, &Query::default(), true, &config_maps)
    }

    #[test]
    fn what_kubectl_accepts_is_a_table() {
        let form = choose(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        );

        assert_eq!(form.unwrap().shape, Shape::Table(MetaVersion::V1, IncludeObject::Metadata));
    }

    #[test]
    fn the_most_wanted_type_is_answered_and_nothing_else_is_refused() {
        assert_eq!(choose("application/yaml;q=0.5, application/json").unwrap().encoding, Encoding::Json);
        assert_eq!(choose("application/json;q=0.5, application/yaml").unwrap().encoding, Encoding::Yaml);
        assert_eq!(choose("application/xml").unwrap_err().code, http::StatusCode::NOT_ACCEPTABLE);
        assert_eq!(
            choose("application/json;as=Table;v=v9;g=meta.k8s.io").unwrap_err().reason,
            "NotAcceptable"
        );
    }

    #[test]
    fn a_list_is_not_answered_as_the_metadata_of_one_object() {
        let refusal = choose("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").unwrap_err();

        assert!(refusal.message.ends_with("is a list (*core.ConfigMapList)"), "{refusal}");
    }
}
