use quarterdeck_core::balancing::Backend;
use tokio::net::UdpSocket;

use super::*;
use crate::address::AddressTable;
use crate::balancers::RoundRobin;

/// Two servers that answer with their number, and a service of both with room for so many flows.
async fn service(flows: usize, connections: usize) -> (Userspace, SocketAddr, JoinSet<()>) {
    let mut servers = JoinSet::new();
    let mut backends = Vec::new();
    for number in 0..2_u8 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        backends.push(Backend(socket.local_addr().unwrap()));
        servers.spawn(async move {
            let mut buffer = [0; 16];
            while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
                socket.send_to(&[number], from).await.unwrap();
            }
        });
    }
    let settings = Settings { udp_flows: flows, connections, ..Settings::default() };
    let mut userspace = Userspace::new(settings, Arc::new(RoundRobin::new()), Arc::new(AddressTable::new()));
    let dns = ObjectKey::new("default", "dns");
    let port =
        ServicePortConfig { backends: Backends::new(backends), ..ServicePortConfig::new(Protocol::Udp, 53) };
    let errors = userspace.apply(&dns, &[port]).await;
    assert!(errors.is_empty(), "{errors:?}");
    let at = userspace.local_addresses(&dns, &"".into())[0];
    (userspace, at, servers)
}

async fn client(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(at).await.unwrap();
    socket
}

async fn ask(client: &UdpSocket) -> Option<u8> {
    let mut buffer = [0; 1];
    client.send(b"?").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(500), client.recv(&mut buffer)).await;
    answer.ok().map(|length| buffer[length.unwrap() - 1])
}

#[tokio::test]
async fn of_too_many_flows_the_one_that_was_silent_for_longest_ends() {
    let (userspace, at, _servers) = service(2, 100).await;
    let clients = [client(at).await, client(at).await, client(at).await];
    let first = ask(&clients[0]).await;
    // Activity is told apart by milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = ask(&clients[1]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_ne!(first, second);

    assert_eq!(ask(&clients[2]).await, first, "it is this backend's turn");

    assert_eq!(ask(&clients[1]).await, second, "it kept its flow");
    assert_eq!(ask(&clients[0]).await, second, "it began a new flow: the turn is the other's");
    userspace.shutdown().await;
}

#[tokio::test]
async fn datagrams_of_clients_above_the_limit_of_connections_are_dropped() {
    let (userspace, at, _servers) = service(100, 1).await;
    let clients = [client(at).await, client(at).await];

    assert!(ask(&clients[0]).await.is_some());

    assert_eq!(ask(&clients[1]).await, None);
    assert!(ask(&clients[0]).await.is_some());
    userspace.shutdown().await;
}

#[tokio::test]
async fn nothing_is_left_of_what_was_shut_down() {
    let (userspace, at, _servers) = service(100, 100).await;
    let permits = userspace.shared.permits.clone();
    assert!(ask(&client(at).await).await.is_some());
    assert_eq!(permits.available_permits(), 99);

    userspace.shutdown().await;

    assert_eq!(permits.available_permits(), 100);
    UdpSocket::bind(at).await.expect("the port is free again");
}
