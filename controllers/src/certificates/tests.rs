//! The shape of requests, and times.

use jiff::SignedDuration;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::request::Asked;
use super::signing::good_for;
use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};

const NODE: (&str, &[&str]) = ("system:node:node-1", &["system:nodes"]);

fn asked((name, organizations): (&str, &[&str]), names: Vec<SanType>) -> Asked {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    for organization in organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.subject_alt_names = names;
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    Asked::read(request.pem().unwrap().as_bytes()).unwrap()
}

fn check(asked: &Asked, signer: &str, usages: &[&str]) -> Result<(), String> {
    let usages: Vec<String> = usages.iter().map(|usage| (*usage).to_owned()).collect();
    asked.check(signer, &usages).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn an_agent_s_client_certificate_names_a_node_and_nothing_else() {
    let usages = ["client auth", "digital signature"];
    let of = |subject, names| check(&asked(subject, names), KUBELET_CLIENT, &usages);

    assert_eq!(of(NODE, vec![]), Ok(()));
    let with = ["key encipherment", "client auth", "digital signature"];
    assert_eq!(check(&asked(NODE, vec![]), KUBELET_CLIENT, &with), Ok(()));
    for (subject, names, why) in [
        (("system:node:a", &[][..]), vec![], "subject organization is not system:nodes"),
        (("system:node:a", &["system:masters"][..]), vec![], "subject organization is not system:nodes"),
        (("alice", &["system:nodes"][..]), vec![], "subject common name does not begin with system:node:"),
        (NODE, vec![dns("a")], "DNS subjectAltNames are not allowed"),
        (NODE, vec![SanType::IpAddress([127, 0, 0, 1].into())], "IP subjectAltNames are not allowed"),
        (NODE, vec![SanType::URI("a:b".try_into().unwrap())], "URI subjectAltNames are not allowed"),
        (NODE, vec![SanType::Rfc822Name("a@b".try_into().unwrap())], "Email subjectAltNames are not allowed"),
    ] {
        assert_eq!(of(subject, names), Err(why.to_owned()));
    }
    let why = "usages did not match [client auth digital signature key encipherment]";
    for usages in [&["client auth"][..], &["client auth", "digital signature", "server auth"]] {
        assert_eq!(check(&asked(NODE, vec![]), KUBELET_CLIENT, usages), Err(why.to_owned()));
    }
}

#[test]
fn an_agent_s_serving_certificate_has_names_or_addresses() {
    let usages = ["server auth", "digital signature"];
    let of = |subject, names| check(&asked(subject, names), KUBELET_SERVING, &usages);

    assert_eq!(of(NODE, vec![dns("node-1")]), Ok(()));
    assert_eq!(of(NODE, vec![]), Err("DNS or IP subjectAltName is required".to_owned()));
    let uri = SanType::URI("a:b".try_into().unwrap());
    assert_eq!(of(NODE, vec![dns("a"), uri]), Err("URI subjectAltNames are not allowed".to_owned()));
    let why = "subject common name does not begin with system:node:";
    assert_eq!(of(("alice", &["system:nodes"]), vec![dns("a")]), Err(why.to_owned()));
}

#[test]
fn a_user_s_certificate_is_for_clients_only_and_the_old_signer_minds_nothing() {
    let user = asked(("alice", &[]), vec![]);

    assert_eq!(check(&user, CLIENT, &["client auth"]), Ok(()));
    let why = "invalid usage for client certificate: server auth";
    assert_eq!(check(&user, CLIENT, &["client auth", "server auth"]), Err(why.to_owned()));
    let why = "missing required usage for client certificate: client auth";
    assert_eq!(check(&user, CLIENT, &["digital signature"]), Err(why.to_owned()));
    assert_eq!(check(&user, LEGACY, &["server auth"]), Ok(()));
    assert!(user.check("example.com/own", &[]).is_none());
}

#[test]
fn what_is_no_request_is_none() {
    let key = KeyPair::generate().unwrap().serialize_pem();

    let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let pem = request.pem().unwrap();
    let twice = format!("{pem}{pem}");
    // Something behind the request, in the same block.
    let longer = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", [&request.der()[..], &[5, 0]].concat()));

    assert!(Asked::read(pem.as_bytes()).is_ok());
    for text in ["", "nonsense", &key, &twice, &longer] {
        assert!(Asked::read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn certificates_are_good_for_ten_minutes_at_least_and_no_longer_than_they_may() {
    let year = SignedDuration::from_hours(24 * 365);

    assert_eq!(good_for(None, year), year);
    assert_eq!(good_for(Some(60), year), SignedDuration::from_mins(10));
    assert_eq!(good_for(Some(3600), year), SignedDuration::from_hours(1));
    assert_eq!(good_for(Some(i32::MAX), year), year);
}
