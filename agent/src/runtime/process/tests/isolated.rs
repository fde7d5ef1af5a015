//! Pods with networks, host names and mounts of their own. Skipped where this process may not make them.

use quarterdeck_core::runtime::{Capabilities, Dns, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Answers one connection with a word.
const SERVER: &str = r#"
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", 8080))
server.listen()
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(sys.argv[1].encode())
    connection.close()
"#;

fn python(script: &str, argument: &str) -> ContainerSpec {
    let command = ["python3", "-c", script, argument].map(str::to_owned).into();
    ContainerSpec { command, env: std::env::vars().filter(|(name, _)| name == "PATH").collect(), ..shell("") }
}

/// Starts a pod with a server in it, and waits until it listens.
async fn serve(host: &Host, sandbox: PodSandbox) -> PodStatus {
    let status = host.pod(sandbox.clone()).await;
    let spec = python(SERVER, &sandbox.name);
    host.process().start_container(&sandbox.uid, &spec).await.unwrap();
    let key = spec.key(&sandbox.uid);
    for _ in 0..500 {
        if host.log(&key, LogOptions::default()).await.contains("listening") {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server did not start: {}", host.log(&key, LogOptions::default()).await);
}

#[tokio::test]
async fn pods_reach_each_other_on_two_nodes_and_the_host_reaches_them() {
    let (Some(one), Some(two)) = (Host::isolated(), Host::isolated()) else { return };
    with(one, async |one| {
        with(two, async |two| {
            let port =
                PodPort { container_port: 8080, host_port: None, host_ip: None, protocol: Protocol::Tcp };
            let same = serve(one, PodSandbox { ports: vec![port.clone()], ..sandbox("same") }).await;
            let other = serve(two, PodSandbox { ports: vec![port.clone()], ..sandbox("other") }).await;
            let client = PodSandbox { ports: vec![port], ..sandbox("client") };
            one.pod(client.clone()).await;

            let ask = r#"
import os, socket, sys
for address in sys.argv[1].split():
    print(socket.create_connection((address, 8080), timeout=5).recv(100).decode(), os.environ["PORT"])
"#;
            let (exit, log) =
                one.run_in(&client, python(ask, &format!("{} {}", same.ips[0], other.ips[0]))).await;
            let mut from_host = String::new();
            let mut connection = tokio::net::TcpStream::connect((same.ips[0], 8080)).await.unwrap();
            connection.read_to_string(&mut from_host).await.unwrap();

            assert_eq!((exit.exit_code, &*log), (Some(0), "same 8080\nother 8080\n"));
            assert_eq!(from_host, "same");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_reaches_the_host_and_a_host_port_reaches_the_pod() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port =
            PodPort { container_port: 8080, host_port: Some(free), host_ip: None, protocol: Protocol::Tcp };
        let status = serve(host, PodSandbox { ports: vec![port], ..sandbox("led") }).await;
        let gateway = super::super::network::gateway(host.process().settings.pod_cidr);
        let listener = tokio::net::TcpListener::bind((gateway, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let call =
            format!("import socket; socket.create_connection(('{}', {}))", address.ip(), address.port());

        let (accepted, (exit, log)) = tokio::join!(listener.accept(), host.run("caller", python(&call, "")));
        let mut led = String::new();
        let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", free)).await.unwrap();
        connection.write_all(b"?").await.unwrap();
        connection.read_to_string(&mut led).await.unwrap();

        assert!(accepted.is_ok() && exit.exit_code == Some(0), "{exit:?}: {log}");
        assert_eq!(led, "led");
        assert!(status.port_map.is_empty(), "its address is an address");
    })
    .await;
}

#[tokio::test]
async fn a_pod_has_its_own_name_hosts_and_resolver() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let dns = Dns { servers: vec!["10.254.0.10".parse().unwrap()], ..Dns::default() };
        let aliases = vec![("192.0.2.9".parse().unwrap(), "elsewhere".to_owned())];
        let pod = PodSandbox { dns: Some(dns), host_aliases: aliases, ..sandbox("named") };
        let status = host.pod(pod.clone()).await;

        let (_, log) = host
            .run_in(&pod, shell("uname -n; cat /etc/hostname /etc/resolv.conf; grep -v '^#' /etc/hosts"))
            .await;

        let ip = status.ips[0];
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{ip}\tnamed\n192.0.2.9\telsewhere\n");
        assert_eq!(log, format!("named\nnamed\nnameserver 10.254.0.10\n{hosts}"));
    })
    .await;
}

#[tokio::test]
async fn volumes_are_where_they_belong_and_the_host_does_not_see_them() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
    let volume = host.directory.path().join("volume");
    let file = host.directory.path().join("file");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("key"), "value").unwrap();
    std::fs::write(&file, "a file").unwrap();
    let mount = |host_path: &Path, container_path: &str, read_only| Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.into(),
        read_only,
    };
    let (top, run, etc) = (entries(Path::new("/")), entries(Path::new("/run")), entries(Path::new("/etc")));
    let spec = ContainerSpec {
        mounts: vec![
            mount(&volume, "/quarterdeck-test/deep", false),
            mount(&volume, "/var/run/secrets/kubernetes.io/serviceaccount", true),
            mount(&file, "/etc/quarterdeck-test.conf", true),
            mount(&file, "/quarterdeck-test/deep/inside", false),
            mount(&volume, "/opt", false),
        ],
        ..shell(
            "cat /quarterdeck-test/deep/key /run/secrets/kubernetes.io/serviceaccount/key /etc/quarterdeck-test.conf \
             /quarterdeck-test/deep/inside /opt/key; echo; echo new > /quarterdeck-test/deep/written; \
             (echo no > /run/secrets/kubernetes.io/serviceaccount/written) 2>/dev/null || echo refused; \
             test -e /etc/passwd && test -d /proc/self && test -c /dev/null && test -L /proc/self/exe && pwd; \
             touch /etc/quarterdeck-test-written; grep nsfs /proc/self/mountinfo | grep -vc /docker/",
        )
    };

    let (exit, log) = host.run("mounts", spec).await;

    assert_eq!(log, "valuevaluea filea filevalue\nrefused\n/\n0\n", "{exit:?}");
    assert_eq!(std::fs::read_to_string(volume.join("written")).unwrap(), "new\n");
    assert_eq!(top, entries(Path::new("/")), "something was made at the host's root");
    assert_eq!(etc, entries(Path::new("/etc")), "something was made in the host's /etc");
    let run: Vec<_> = run.into_iter().filter(|path| !path.ends_with("netns")).collect();
    let after: Vec<_> =
        entries(Path::new("/run")).into_iter().filter(|path| !path.ends_with("netns")).collect();
    assert_eq!(run, after, "something was made in the host's /run");
    }).await;
}

#[tokio::test]
async fn a_volume_that_is_nowhere_or_goes_nowhere_cannot_be_mounted() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        host.pod(sandbox("missing")).await;
        for (host_path, container_path) in
            [("/no/such/path", "/data"), ("/tmp", "/"), ("/tmp", "/data/../etc")]
        {
            let (host_path, container_path) = (host_path.into(), container_path.into());
            let mount = Mount { host_path, container_path, read_only: false };
            let spec = ContainerSpec { mounts: vec![mount.clone()], ..shell("true") };

            let failure = host.process().start_container(&"missing".into(), &spec).await;

            let Err(RuntimeError::CannotRun { message, .. }) = failure else {
                panic!("{mount:?} gave {failure:?}")
            };
            assert!(message.contains("cannot mount"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_read_only_root_refuses_writes_but_to_volumes() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let volume = host.directory.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        let spec = ContainerSpec {
            mounts: vec![Mount { host_path: volume, container_path: "/scratch".into(), read_only: false }],
            security: Security { read_only_root: true, ..Security::default() },
            ..shell(
                "for place in / /etc /tmp /var/tmp /run /root /scratch; do \
             touch $place/quarterdeck-test 2>/dev/null && echo $place; done; echo x > /dev/null && echo done",
            )
        };

        let (exit, log) = host.run("sealed", spec).await;

        assert_eq!(log, "/scratch\ndone\n", "{exit:?}");
    })
    .await;
}

#[tokio::test]
async fn a_container_runs_as_whom_it_says_with_what_it_may() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
    let security = Security {
        run_as_user: Some(65_534),
        run_as_group: Some(7),
        supplemental_groups: vec![8, 9],
        no_new_privileges: true,
        capabilities: Capabilities { add: Vec::new(), drop: vec!["ALL".to_owned()] },
        ..Security::default()
    };
    let script = "id -u; id -G; grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\t'; echo x >> /dev/stdout";

    let (_, log) = host.run("nobody", ContainerSpec { security, ..shell(script) }).await;
    let keep = Capabilities { add: vec!["CHOWN".to_owned()], drop: vec!["ALL".to_owned()] };
    let security = Security { capabilities: keep, ..Security::default() };
    let (_, root) =
        host.run("chown", ContainerSpec { security, ..shell("grep CapEff /proc/self/status") }).await;

    let none = "0000000000000000";
    assert_eq!(log, format!("65534\n7 8 9\nCapEff:{none}\nCapBnd:{none}\nNoNewPrivs:1\nx\n"));
    assert_eq!(root, "CapEff:\t0000000000000001\n");
    }).await;
}

#[tokio::test]
async fn a_pod_on_the_hosts_network_has_no_address_of_its_own() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let pod = PodSandbox { host_network: true, ..sandbox("shared") };

        let status = host.pod(pod.clone()).await;
        let (_, log) = host.run_in(&pod, shell("uname -n; readlink /proc/self/ns/net")).await;

        assert!(status.ips.is_empty());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let name = rustix::system::uname().nodename().to_str().unwrap().to_owned();
        assert_eq!(log, format!("{name}\n{}\n", own.display()));
    })
    .await;
}
