//! Rules for a pod's resolver and its file of hosts.

use super::super::at::{At, Errors};
use super::super::names;

const NO_ADDRESS: &str = "must be valid IP address";
const MAX_NAME_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

pub(super) fn dns_policy(policy: &At, errors: &mut Errors) {
    policy.one_of_or_required(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
}

pub(super) fn dns_config(spec: &At, errors: &mut Errors) {
    let config = spec.child("dnsConfig");
    let servers = config.child("nameservers");
    if spec.child("dnsPolicy").str() == "None" {
        if !config.is_set() {
            config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > MAX_NAME_SERVERS {
        servers.invalid(errors, &format!("must not have more than {MAX_NAME_SERVERS} nameservers"));
    }
    for server in servers.items() {
        if !names::ip(server.str()).is_empty() {
            server.invalid(errors, NO_ADDRESS);
        }
    }
    let searches = config.child("searches");
    if searches.len() > MAX_SEARCHES {
        searches.invalid(errors, &format!("must not have more than {MAX_SEARCHES} search paths"));
    }
    let bytes = searches.strings().map(|search| search.len() + 1).sum::<usize>().saturating_sub(1);
    if bytes > MAX_SEARCH_BYTES {
        let rule = format!(
            "must not have more than {MAX_SEARCH_BYTES} characters (including spaces) in the search list"
        );
        searches.invalid(errors, &rule);
    }
    for search in searches.items() {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        // The root alone, and names with underscores (SRV records), are searched too.
        if search.str() != "." && !names::subdomain(&name.replace('_', "a")).is_empty() {
            names::subdomain(name).iter().for_each(|problem| search.invalid_shown(errors, name, problem));
        }
    }
    for option in config.child("options").items() {
        if option.child("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

pub(super) fn host_aliases(aliases: &At, errors: &mut Errors) {
    for alias in aliases.items() {
        let address = alias.child("ip");
        if !names::ip(address.str()).is_empty() {
            aliases.child("ip").invalid_shown(errors, address.str(), NO_ADDRESS);
        }
        for host in alias.child("hostnames").strings() {
            for problem in names::subdomain(host) {
                aliases.child("hostnames").invalid_shown(errors, host, &problem);
            }
        }
    }
}
