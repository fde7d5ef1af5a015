use std::fs;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

/// A server's options, with its data and the files that they name in a directory.
fn options(directory: &Path, flags: &[&str]) -> ServerOptions {
    let data = directory.join("data");
    let given = flags.iter().map(|flag| match flag.strip_prefix('@') {
        Some(name) => directory.join(name).to_str().unwrap().to_owned(),
        None => (*flag).to_owned(),
    });
    let all = ["quarterdeck", "apiserver", "--data", data.to_str().unwrap()].map(str::to_owned);
    match Cli::try_parse_from(all.into_iter().chain(given)).unwrap().command {
        Command::Apiserver(options) => options,
        other => panic!("{other:?}"),
    }
}

fn authority() -> Authority {
    Authority::new(Clock::system().now()).unwrap()
}

fn open(options: &ServerOptions) -> Serving {
    Serving::open(options, &Identities::open(options).unwrap(), vec!["localhost".to_owned()]).unwrap()
}

const BOTH: [&str; 4] = ["--client-ca-file", "@users", "--requestheader-client-ca-file", "@proxies"];

#[test]
fn the_clusters_own_certificate_is_renewed_whatever_becomes_of_others_files() {
    let place = tempfile::tempdir().unwrap();
    let front = authority().server("front", &["front".to_owned()]).unwrap();
    let (users, proxies) = (authority(), authority());
    let files = [
        ("users", users.certificate()),
        ("proxies", proxies.certificate()),
        ("crt", &front.certificate),
        ("key", &front.key),
    ];
    for (name, text) in files {
        fs::write(place.path().join(name), text).unwrap();
    }
    let given = ["--tls-cert-file", "@crt", "--tls-private-key-file", "@key"];
    let serving = open(&options(place.path(), &[&BOTH[..], &given].concat()));
    let own = || serving.shown().own.certificate.clone();
    let (first, settings) = (own(), serving.tls().current());

    for (name, _) in files {
        fs::write(place.path().join(name), "nothing of use").unwrap();
    }
    let end = serving.renew().unwrap();

    assert_ne!(own(), first);
    assert_eq!(serving.end().unwrap(), end);
    let renewed = serving.tls().current();
    assert!(!Arc::ptr_eq(&renewed, &settings));
    // Nothing is half replaced.
    for read in [Serving::read_clients, Serving::read_proxies, Serving::read_given] {
        assert!(read(&serving).is_err());
        assert!(Arc::ptr_eq(&serving.tls().current(), &renewed));
    }
    assert_eq!(serving.shown().clients, users.certificate());
}

#[test]
fn proxies_and_users_of_one_authority_are_refused_unless_proxies_are_named() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    let (users, proxies) = (authority(), authority());
    let both = format!("{}{}", proxies.certificate(), users.certificate());
    write("users", users.certificate());
    write("proxies", &both);
    let named = [&BOTH[..], &["--requestheader-allowed-names", "front"]].concat();
    let refused = |result: Result<()>| result.unwrap_err().to_string();
    let says = "--requestheader-allowed-names";

    assert!(refused(Identities::open(&options(place.path(), &BOTH)).map(drop)).contains(says));
    assert!(Identities::open(&options(place.path(), &named)).is_ok());

    write("proxies", proxies.certificate());
    let serving = open(&options(place.path(), &BOTH));
    let settings = serving.tls().current();
    let own = serving.authority.certificate().to_owned();
    for (name, text, read) in [
        ("users", both.as_str(), Serving::read_clients as fn(&Serving) -> Result<()>),
        ("proxies", &both, Serving::read_proxies),
        ("proxies", &own, Serving::read_proxies),
    ] {
        let before = fs::read_to_string(place.path().join(name)).unwrap();
        write(name, text);
        assert!(refused(read(&serving)).contains(says), "{name}");
        write(name, &before);
    }
    assert!(Arc::ptr_eq(&serving.tls().current(), &settings), "what was there stays");
    assert!(!serving.clients.overlap(serving.proxies.as_ref().unwrap()));
    serving.read_clients().unwrap();
    assert!(!Arc::ptr_eq(&serving.tls().current(), &settings));
}

#[test]
fn the_clusters_own_parts_believe_its_own_authority_alone() {
    let place = tempfile::tempdir().unwrap();
    let front = authority();
    let shown = front.server("front", &["front".to_owned()]).unwrap();
    fs::write(place.path().join("crt"), format!("{}{}", shown.certificate, front.certificate())).unwrap();
    fs::write(place.path().join("key"), &shown.key).unwrap();
    let options = options(place.path(), &["--tls-cert-file", "@crt", "--tls-private-key-file", "@key"]);
    let own = Arc::new(authority());

    let reach = Reach::open(&options, &own, "https://127.0.0.1:6443").unwrap();

    assert!(reach.root_ca.contains(own.certificate()) && reach.root_ca.contains(front.certificate().trim()));
    let identity = own.client(&User::admin()).unwrap();
    let wanted = kubeconfig_by_name(
        "https://127.0.0.1:6443",
        OWN_NAME,
        own.certificate(),
        &User::admin().name,
        &identity,
    );
    assert_eq!(reach.kubeconfig(&User::admin(), &identity), wanted);
}
