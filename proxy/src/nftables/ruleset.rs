//! What the table holds, as text for `nft`: no processes and no sockets here.
//!
//! However many services there are, there are the same few rules: they look addresses up in maps and sets. A change of a
//! service is a change of elements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::IpAddr;

use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::runtime::Protocol;

/// Marks connections of the proxy itself, which are never redirected.
pub(crate) const MARK: u32 = 0x5144_0001;

/// The longest comment that an element takes, in bytes.
const COMMENT: usize = 127;

/// Where a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == Protocol::Udp { "udp" } else { "tcp" };
        write!(f, "{} . {protocol} . {}", self.address, self.port)
    }
}

/// What one service wants of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Connections to these go to a local port; with the name of the port, for people who read the rules.
    pub(crate) redirects: BTreeMap<Destination, (u16, String)>,
    /// Connections to these addresses that are not redirected are refused.
    pub(crate) refused: BTreeSet<IpAddr>,
}

/// What the table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) redirects: BTreeMap<Destination, u16>,
    pub(super) refused: BTreeSet<IpAddr>,
}

/// What all services want, and what changed since it was last written.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    services: BTreeMap<ObjectKey, Wish>,
    redirects: BTreeMap<Destination, BTreeSet<ObjectKey>>,
    refused: BTreeMap<IpAddr, BTreeSet<ObjectKey>>,
    changed: Changed,
}

#[derive(Debug, Default)]
struct Changed {
    redirects: BTreeSet<Destination>,
    refused: BTreeSet<IpAddr>,
}

impl Wishes {
    /// Replaces what `service` wants.
    pub(super) fn set(&mut self, service: &ObjectKey, wish: Wish) {
        let known = self.services.get(service);
        if known == Some(&wish) || (known.is_none() && wish == Wish::default()) {
            return;
        }
        let old = self.services.remove(service).unwrap_or_default();
        for destination in old.redirects.keys() {
            give_up(&mut self.redirects, destination, service);
        }
        for address in &old.refused {
            give_up(&mut self.refused, address, service);
        }
        for destination in wish.redirects.keys() {
            self.redirects.entry(*destination).or_default().insert(service.clone());
        }
        for address in &wish.refused {
            self.refused.entry(*address).or_default().insert(service.clone());
        }
        self.changed.redirects.extend(old.redirects.keys().chain(wish.redirects.keys()));
        self.changed.refused.extend(old.refused.iter().chain(&wish.refused));
        if wish != Wish::default() {
            self.services.insert(service.clone(), wish);
        }
    }

    /// Returns where connections to `destination` go. If two services claim it, the first by name has it.
    fn redirect(&self, destination: &Destination) -> Option<&(u16, String)> {
        let owner = self.redirects.get(destination)?.first()?;
        self.services.get(owner)?.redirects.get(destination)
    }

    /// Returns what the table should hold.
    pub(super) fn content(&self) -> Content {
        let port = |destination: &Destination| Some((*destination, self.redirect(destination)?.0));
        Content {
            redirects: self.redirects.keys().filter_map(port).collect(),
            refused: self.refused.keys().copied().collect(),
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.changed.redirects.is_empty() || !self.changed.refused.is_empty()
    }

    /// Forgets what changed: it was written.
    pub(super) fn written(&mut self) {
        self.changed = Changed::default();
    }

    /// Returns commands that make the table anew, whatever was there.
    pub(super) fn whole(&self, table: &str) -> String {
        let mut script = format!("{}{}", delete(table), frame(table));
        let mut edits = Edits::default();
        for destination in self.redirects.keys() {
            edits.add_redirect(destination, self.redirect(destination));
        }
        for address in self.refused.keys() {
            edits.add_refused(address);
        }
        edits.write(table, &mut script);
        script
    }

    /// Returns commands that bring the table from `installed` to what is wanted now, and what it then holds.
    pub(super) fn difference(&self, table: &str, installed: &Content) -> (String, Content) {
        let (mut edits, mut then) = (Edits::default(), installed.clone());
        for destination in &self.changed.redirects {
            let wanted = self.redirect(destination);
            if wanted.map(|(port, _)| port) == installed.redirects.get(destination) {
                continue;
            }
            if then.redirects.remove(destination).is_some() {
                edits.delete_redirect(destination);
            }
            if let Some((port, _)) = wanted {
                edits.add_redirect(destination, wanted);
                then.redirects.insert(*destination, *port);
            }
        }
        for address in &self.changed.refused {
            match (self.refused.contains_key(address), then.refused.contains(address)) {
                (true, false) => {
                    edits.add_refused(address);
                    then.refused.insert(*address);
                }
                (false, true) => {
                    edits.delete_refused(address);
                    then.refused.remove(address);
                }
                _ => {}
            }
        }
        let mut script = String::new();
        edits.write(table, &mut script);
        (script, then)
    }
}

fn give_up<K: Ord>(owners: &mut BTreeMap<K, BTreeSet<ObjectKey>>, key: &K, service: &ObjectKey) {
    if let Some(of) = owners.get_mut(key) {
        of.remove(service);
        if of.is_empty() {
            owners.remove(key);
        }
    }
}

/// Returns commands that remove the table, if it is there.
pub(super) fn delete(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// Elements to delete and to add, by the set they are in.
#[derive(Default)]
struct Edits {
    deleted: BTreeMap<&'static str, String>,
    added: BTreeMap<&'static str, String>,
}

impl Edits {
    fn add_redirect(&mut self, destination: &Destination, to: Option<&(u16, String)>) {
        if let Some((port, name)) = to {
            let set = Self::redirects(&destination.address);
            let element = format!("{destination} comment \"{}\" : {port}, ", comment(name));
            self.added.entry(set).or_default().push_str(&element);
        }
    }

    fn delete_redirect(&mut self, destination: &Destination) {
        let set = Self::redirects(&destination.address);
        self.deleted.entry(set).or_default().push_str(&format!("{destination}, "));
    }

    fn add_refused(&mut self, address: &IpAddr) {
        self.added.entry(Self::refused(address)).or_default().push_str(&format!("{address}, "));
    }

    fn delete_refused(&mut self, address: &IpAddr) {
        self.deleted.entry(Self::refused(address)).or_default().push_str(&format!("{address}, "));
    }

    fn redirects(address: &IpAddr) -> &'static str {
        if address.is_ipv4() { "services4" } else { "services6" }
    }

    fn refused(address: &IpAddr) -> &'static str {
        if address.is_ipv4() { "addresses4" } else { "addresses6" }
    }

    fn write(self, table: &str, script: &mut String) {
        for (verb, edits) in [("delete", self.deleted), ("add", self.added)] {
            for (set, elements) in edits {
                // Writing to a string cannot fail.
                let _ = writeln!(script, "{verb} element inet {table} {set} {{ {elements} }}");
            }
        }
    }
}

/// Returns `text` as far as an element takes it as a comment.
fn comment(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-._/:".contains(*c);
    text.chars().filter(is_plain).take(COMMENT).collect()
}

/// Returns the table without elements.
///
/// Connections go to a port of this machine, at whatever address of it they came in: nothing needs `route_localnet`.
fn frame(table: &str) -> String {
    format!(
        "\
table inet {table} {{
  map services4 {{ type ipv4_addr . inet_proto . inet_service : inet_service; }}
  map services6 {{ type ipv6_addr . inet_proto . inet_service : inet_service; }}
  set addresses4 {{ type ipv4_addr; }}
  set addresses6 {{ type ipv6_addr; }}
  chain redirect-services {{
    meta l4proto {{ tcp, udp }} redirect to : ip daddr . meta l4proto . th dport map @services4
    meta l4proto {{ tcp, udp }} redirect to : ip6 daddr . meta l4proto . th dport map @services6
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump redirect-services
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta mark {MARK:#x} return
    jump redirect-services
  }}
  chain refuse-others {{
    ip daddr @addresses4 reject
    ip6 daddr @addresses6 reject
  }}
  chain filter-prerouting {{
    type filter hook prerouting priority -90; policy accept;
    jump refuse-others
  }}
  chain filter-output {{
    type filter hook output priority 0; policy accept;
    jump refuse-others
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(address: &str, port: u16) -> Destination {
        Destination { address: address.parse().unwrap(), protocol: Protocol::Tcp, port }
    }

    fn wish(redirects: &[(Destination, u16)]) -> Wish {
        Wish {
            redirects: redirects.iter().map(|(to, port)| (*to, (*port, "default/web:http".into()))).collect(),
            refused: redirects.iter().map(|(to, _)| to.address).collect(),
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    /// Writes what changed, and checks that the table then holds what is wanted.
    fn write(wishes: &mut Wishes, installed: &mut Content) -> String {
        let (script, then) = wishes.difference("t", installed);
        assert_eq!(then, wishes.content());
        *installed = then;
        wishes.written();
        script
    }

    #[test]
    fn a_change_of_one_service_is_a_change_of_its_elements() {
        let (mut wishes, mut installed) = (Wishes::default(), Content::default());
        let (web, dns) = (destination("10.254.0.7", 80), destination("fd00::a", 53));
        wishes.set(&key("web"), wish(&[(web, 40_001)]));
        wishes.set(&key("dns"), wish(&[(dns, 40_002)]));
        assert_eq!(
            write(&mut wishes, &mut installed),
            "add element inet t addresses4 { 10.254.0.7,  }\n\
             add element inet t addresses6 { fd00::a,  }\n\
             add element inet t services4 { 10.254.0.7 . tcp . 80 comment \"default/web:http\" : 40001,  }\n\
             add element inet t services6 { fd00::a . tcp . 53 comment \"default/web:http\" : 40002,  }\n"
        );

        wishes.set(&key("web"), wish(&[(web, 40_009)]));
        assert_eq!(
            write(&mut wishes, &mut installed),
            "delete element inet t services4 { 10.254.0.7 . tcp . 80,  }\n\
             add element inet t services4 { 10.254.0.7 . tcp . 80 comment \"default/web:http\" : 40009,  }\n"
        );

        wishes.set(&key("web"), Wish::default());
        assert_eq!(
            write(&mut wishes, &mut installed),
            "delete element inet t addresses4 { 10.254.0.7,  }\n\
             delete element inet t services4 { 10.254.0.7 . tcp . 80,  }\n"
        );
        assert!(!wishes.is_changed());
    }

    #[test]
    fn a_service_that_changes_there_and_back_is_no_change() {
        let (mut wishes, mut installed) = (Wishes::default(), Content::default());
        let web = destination("10.254.0.7", 80);
        wishes.set(&key("web"), wish(&[(web, 40_001)]));
        write(&mut wishes, &mut installed);

        wishes.set(&key("web"), Wish::default());
        wishes.set(&key("web"), wish(&[(web, 40_001)]));

        assert_eq!(write(&mut wishes, &mut installed), "");
    }

    #[test]
    fn an_address_that_two_services_claim_is_the_firsts_until_it_goes() {
        let (mut wishes, mut installed) = (Wishes::default(), Content::default());
        let shared = destination("192.0.2.1", 80);
        wishes.set(&key("b"), wish(&[(shared, 2)]));
        write(&mut wishes, &mut installed);
        wishes.set(&key("a"), wish(&[(shared, 1)]));
        write(&mut wishes, &mut installed);
        assert_eq!(installed.redirects[&shared], 1);

        wishes.set(&key("a"), Wish::default());
        write(&mut wishes, &mut installed);

        assert_eq!(installed.redirects[&shared], 2);
        assert!(installed.refused.contains(&shared.address));
    }

    #[test]
    fn a_comment_cannot_leave_its_quotes() {
        assert_eq!(comment("default/web\" : 1 }\n"), "default/web:1");
    }
}
