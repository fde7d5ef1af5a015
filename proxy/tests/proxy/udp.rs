//! UDP through the proxy: real sockets on the loopback interface, configuration by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::runtime::Protocol;
use quarterdeck_proxy::{Proxy, RoundRobin, ServicePortConfig, ServiceTable};

use crate::support::{Echoes, Running, answers, ask, ask_often, client, in_time, tcp, udp};

fn start(configure: impl FnOnce(Proxy) -> Proxy) -> Running {
    let table = ServiceTable::new();
    let proxy = configure(Proxy::from_table(&table, RoundRobin::new()));
    Running::start(table, proxy)
}

#[tokio::test]
async fn each_client_has_a_backend_of_its_own() {
    let (echoes, proxy) = (Echoes::udp(2).await, start(|proxy| proxy));
    let dns = proxy.set("dns", udp(&echoes.at)).await;
    let (first, second) = (client(dns).await, client(dns).await);

    let answers =
        [ask(&first, "a").await, ask(&second, "b").await, ask(&first, "c").await, ask(&second, "d").await];

    assert_eq!(answers, ["0a", "1b", "0c", "1d"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_whose_backend_left_gets_another() {
    let (echoes, proxy) = (Echoes::udp(2).await, start(|proxy| proxy));
    let dns = proxy.set("dns", udp(&echoes.at[..1])).await;
    let client = client(dns).await;
    assert_eq!(ask(&client, "a").await, "0a");

    proxy.set("dns", udp(&echoes.at[1..])).await;

    assert_eq!(ask(&client, "b").await, "1b");
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_whose_backend_refuses_gets_another() {
    let (mut echoes, proxy) = (Echoes::udp(2).await, start(|proxy| proxy));
    let dns = proxy.set("dns", udp(&echoes.at)).await;
    let client = client(dns).await;
    assert_eq!(ask(&client, "a").await, "0a");

    echoes.end(0).await;

    assert_eq!(ask_often(&client, "b").await, "1b");
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_was_silent_for_long_is_forgotten() {
    let idle = Duration::from_millis(100);
    let (echoes, proxy) = (Echoes::udp(2).await, start(|proxy| proxy.udp_idle_timeout(idle)));
    let dns = proxy.set("dns", udp(&echoes.at)).await;
    let client = client(dns).await;
    assert_eq!(ask(&client, "a").await, "0a");

    let forgotten = async {
        while ask(&client, "b").await == "0b" {
            tokio::time::sleep(idle * 2).await;
        }
    };
    in_time(forgotten).await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_answer_comes_from_the_address_that_was_asked() {
    let echoes = Echoes::udp(1).await;
    let proxy = start(|proxy| proxy.listen([Ipv4Addr::UNSPECIFIED.into()]));
    let dns = proxy.set("dns", udp(&echoes.at)).await;

    // The client takes answers from this address only, and the kernel would choose another.
    let client = client(SocketAddr::from(([127, 0, 0, 9], dns.port()))).await;

    assert_eq!(ask(&client, "a").await, "0a");
    proxy.stop().await;
}

#[tokio::test]
async fn the_longest_datagrams_pass() {
    let (echoes, proxy) = (Echoes::udp(1).await, start(|proxy| proxy));
    let dns = proxy.set("dns", udp(&echoes.at)).await;
    let client = client(dns).await;
    let long = "x".repeat(65_000);

    assert_eq!(ask(&client, &long).await.len(), 65_001);
    assert_eq!(ask(&client, "").await, "0", "an empty one is one too");
    proxy.stop().await;
}

#[tokio::test]
async fn ipv6_works_as_well() {
    let (echoes, proxy) = (Echoes::udp(1).await, start(|proxy| proxy.listen(["::1".parse().unwrap()])));
    if tokio::net::UdpSocket::bind("[::1]:0").await.is_err() {
        return; // this machine has none
    }
    let dns = proxy.set("dns", udp(&echoes.at)).await;
    let client = tokio::net::UdpSocket::bind("[::1]:0").await.unwrap();
    client.connect(dns).await.unwrap();

    assert_eq!(ask(&client, "a").await, "0a");
    proxy.stop().await;
}

#[tokio::test]
async fn one_service_may_have_both_protocols_at_one_port() {
    let (datagrams, streams) = (Echoes::udp(1).await, Echoes::tcp(1).await);
    let (proxy, dns) = (start(|proxy| proxy), ObjectKey::new("default", "dns"));
    let (first, second) = (udp(&datagrams.at), tcp(&streams.at));

    proxy.table.set(
        &dns,
        vec![
            ServicePortConfig { name: "dns".into(), ..first },
            ServicePortConfig { name: "dns-tcp".into(), port: 53, ..second },
        ],
    );

    let ports = in_time(proxy.ports.wait_for(&dns, |ports| ports.len() == 2)).await;
    assert_eq!(ask(&*client(ports[0].proxy[0]).await, "a").await, "0a");
    assert_eq!(answers(ports[1].proxy[0], 1).await, [0]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_port_that_changes_its_protocol_is_served_by_the_new_one() {
    let (datagrams, streams) = (Echoes::udp(1).await, Echoes::tcp(1).await);
    let proxy = start(|proxy| proxy);
    proxy.set("web", udp(&datagrams.at)).await;

    let web = proxy.set("web", tcp(&streams.at)).await;

    assert_eq!(answers(web, 1).await, [0]);
    let ports = proxy.ports.of(&ObjectKey::new("default", "web"));
    assert_eq!((ports.len(), ports[0].protocol), (1, Protocol::Tcp));
    proxy.stop().await;
}
