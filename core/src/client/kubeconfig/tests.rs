use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Either, Full, StreamBody};
use kube::client::Body;
use tempfile::TempDir;
use tower::service_fn;

use super::*;
use crate::component::StopSignal;

/// Makes clients of nobody that answer everything with the certificate that they would show.
fn connect(config: Config) -> Result<Client, BoxError> {
    let shown = fs::read(config.auth_info.client_certificate.ok_or("there is no certificate")?)?;
    if shown.is_empty() {
        return Err("there is no certificate".into());
    }
    let answer = move |request: Request<Body>| {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch"));
        let body = if is_watch {
            // It goes on for as long as nobody ends it.
            Either::Left(StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Infallible>>()))
        } else {
            Either::Right(Full::from(shown.clone()))
        };
        async move { Ok::<_, Infallible>(Response::new(body)) }
    };
    Ok(Client::new(service_fn(answer), "default"))
}

/// A kubeconfig whose certificate is in a file of its own.
fn kubeconfig(certificate: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
         clusters: [{{name: it, cluster: {{server: \"https://127.0.0.1:6443\"}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: me}}}}]\n\
         users: [{{name: me, user: {{client-certificate: {certificate}, client-key: key.pem}}}}]\n"
    )
}

fn write(place: &TempDir, name: &str, text: &str) {
    // As whoever renews certificates does: beside, and then in place.
    fs::write(place.path().join("fresh"), text).unwrap();
    fs::rename(place.path().join("fresh"), place.path().join(name)).unwrap();
}

async fn shown(client: &Client) -> String {
    client.request_text(Request::get("/version").body(Vec::new()).unwrap()).await.unwrap()
}

/// Opens a kubeconfig, and follows it for as long as what is returned is there.
async fn follow(place: &TempDir) -> (Client, StopSignal) {
    let followed = KubeconfigClient::open(place.path().join("config"), connect).await.unwrap();
    let (client, (signal, stop)) = (followed.client(), Stop::channel());
    tokio::spawn(Box::new(followed).run(stop));
    (client, signal)
}

/// Lets the files be looked at once.
async fn look() {
    tokio::time::sleep(LOOK + GRACE + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_replaced_is_shown_from_the_next_look_on() {
    let place = TempDir::new().unwrap();
    write(&place, "cert.pem", "first");
    write(&place, "config", &kubeconfig("cert.pem"));
    let (client, _running) = follow(&place).await;
    let watch = client.request_stream(Request::get("/x?watch=1").body(Vec::new()).unwrap()).await.unwrap();

    write(&place, "cert.pem", "second");
    let before = shown(&client).await;
    look().await;
    let by_file = shown(&client).await;
    write(&place, "other.pem", "third");
    write(&place, "config", &kubeconfig("other.pem"));
    look().await;

    assert_eq!((before.as_str(), by_file.as_str()), ("first", "second"));
    assert_eq!(shown(&client).await, "third", "the kubeconfig itself is followed too");
    let mut rest = Vec::new();
    let ended = futures::AsyncReadExt::read_to_end(&mut Box::pin(watch), &mut rest).await;
    assert_eq!(ended.unwrap(), 0, "watches end as if the server had ended them");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_leaves_the_client_as_it_was() {
    let place = TempDir::new().unwrap();
    write(&place, "cert.pem", "first");
    write(&place, "config", &kubeconfig("cert.pem"));
    let (client, _running) = follow(&place).await;

    for (name, text) in [("config", "clusters: {"), ("cert.pem", "")] {
        write(&place, name, text);
        look().await;
        assert_eq!(shown(&client).await, "first", "{name}");
        write(&place, "config", &kubeconfig("cert.pem"));
    }
    write(&place, "cert.pem", "second");
    look().await;

    assert_eq!(shown(&client).await, "second");
}
