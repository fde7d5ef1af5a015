//! What other servers did, and what ours is to do.
//!
//! They cannot be installed where this runs: their figures were measured earlier, on the same kind of machine (two cores,
//! loader included), kube-apiserver over TLS with etcd 3.4 on the same disk.

/// The names of figures that are shown beside others'.
pub(crate) const CREATE: &str = "creates of a 1 KiB ConfigMap, in memory";
pub(crate) const CREATE_DURABLE: &str = "creates of a 1 KiB ConfigMap, durable";
pub(crate) const CREATE_POD: &str = "creates of a Pod";
pub(crate) const GET: &str = "GETs of a 1 KiB ConfigMap";
pub(crate) const LIST: &str = "LIST of 10,000 pods";
pub(crate) const LIST_FIRST: &str = "LIST of the first 500 of 10,000 pods";
pub(crate) const LIST_NODE: &str = "LIST of 10,000 pods by spec.nodeName, no match";
pub(crate) const DELIVERY: &str = "create to delivery, 1 watcher";
pub(crate) const DELIVERY_100: &str = "create to delivery, 100 watchers at 200/s";
pub(crate) const DELIVERIES: &str = "deliveries, 1,000 watchers";
pub(crate) const RESIDENT_IDLE: &str = "resident, idle";
pub(crate) const RESIDENT_PODS: &str = "resident, with 10,000 pods of 2.3 KB";
pub(crate) const IDLE_WATCH: &str = "resident for an idle watch";
pub(crate) const CREATE_GUARDED: &str = "creates of a 1 KiB ConfigMap, all security";
pub(crate) const CREATE_BARE: &str = "creates of a 1 KiB ConfigMap, no security";
pub(crate) const SECURITY: &str = "server's CPU for security, above a create without";
pub(crate) const DECISION: &str = "RBAC decision, 1,000 bindings";
pub(crate) const PER_BYTE: &str = "bytes resident per byte stored";

/// By the beginning of the figure's name: the goal, kube-apiserver, the fastest peer in Rust. The first that fits counts.
const KNOWN: &[(&str, [&str; 3])] = &[
    (CREATE, ["15,000", "–", "–"]),
    (CREATE_DURABLE, ["12,000", "2,100–2,300", "1,761 → 836"]),
    (CREATE_POD, ["8,000", "1,240–1,670", "296"]),
    (GET, ["40,000", "4,400–4,950", "3,264"]),
    ("LIST of 10,000 pods, p50", ["25", "209–500", "378"]),
    ("LIST of the first 500 of 10,000 pods, p50", ["2", "19–27", "254"]),
    ("LIST of 10,000 pods by spec.nodeName, no match, p50", ["1", "155", "–"]),
    ("create to delivery, 1 watcher, p50", ["0.5", "1.8", "507"]),
    ("create to delivery, 1 watcher, p99", ["2", "3.5–11", "987"]),
    ("create to delivery, 100 watchers at 200/s, p50", ["1", "2.7", "–"]),
    ("create to delivery, 100 watchers at 200/s, p99", ["5", "6–7", "–"]),
    (DELIVERIES, ["300,000", "30,000–34,000", "–"]),
    (RESIDENT_IDLE, ["20", "316", "35"]),
    (RESIDENT_PODS, ["75", "900–1,300", "458"]),
    (IDLE_WATCH, ["16", "50–100 (published)", "–"]),
    (SECURITY, ["25", "–", "–"]),
    (DECISION, ["5", "–", "–"]),
    (PER_BYTE, ["2", "–", "–"]),
];

/// Returns what a figure is shown beside: its own name is known, or what comes before "among" and the like.
pub(crate) fn of(name: &str) -> Option<[&'static str; 3]> {
    let is_detail = |begin: &str| {
        let rest = &name[begin.len()..];
        [", p50", ", p99", ", server's CPU"].iter().any(|detail| rest.ends_with(detail))
    };
    let known = KNOWN.iter().find(|(begin, _)| name.starts_with(begin) && !is_detail(begin));
    known.map(|(_, known)| *known)
}
