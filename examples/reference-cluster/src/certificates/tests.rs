use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use quarterdeck_core::client::KubeconfigClient;
use quarterdeck_registry::storage::MemoryStorage;
use quarterdeck_registry::tls::{Authority, ClientCertificates, Identity, PeerCertificate};
use quarterdeck_registry::{ApiServer, User};
use secrecy::ExposeSecret as _;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::server::write_kubeconfig;
use crate::serving::Reach;

/// Makes clients of a server that show it the certificate of a kubeconfig.
fn connect(server: &ApiServer, config: Config) -> std::result::Result<Client, BoxError> {
    let text = |data: &str| -> std::result::Result<String, BoxError> {
        Ok(String::from_utf8(STANDARD.decode(data)?)?)
    };
    let user = config.auth_info;
    let identity = Identity {
        certificate: text(&user.client_certificate_data.ok_or("there is no certificate")?)?,
        key: text(user.client_key_data.ok_or("there is no key")?.expose_secret())?,
    };
    let shown = PeerCertificate::new(identity.der()?.0.remove(0));
    let server = server.clone();
    let send = move |mut request: Request<Body>| {
        request.extensions_mut().insert(shown.clone());
        server.clone().oneshot(request)
    };
    Ok(Client::new(service_fn(send), "default"))
}

async fn who(client: &Client) -> kube::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    Ok(review.status.unwrap().user_info.unwrap().username.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_part_goes_on_beyond_the_end_of_its_first_certificate() {
    const MONTHS: Duration = Duration::from_secs(150 * 24 * 3600);
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let authority = Arc::new(Authority::new(clock.now()).unwrap().with_clock(clock.clone()));
    let server = ApiServer::builder(MemoryStorage::new())
        .clock(clock.clone())
        .authenticator(ClientCertificates::new(authority.certificate(), clock.clone()).unwrap())
        .start()
        .await
        .unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("scheduler");
    let make = {
        let (file, reach) = (file.clone(), Reach::own(&authority, "https://127.0.0.1:6443"));
        move || {
            write_kubeconfig(&file, &reach, &User::scheduler())?;
            Ok(authority.client(&User::scheduler()).unwrap().not_after().unwrap())
        }
    };
    let renewal = Renewal::new(clock, make().unwrap(), make);
    let first = Kubeconfig::read_from(&file).unwrap();
    let first = Config::from_custom_kubeconfig(first, &KubeConfigOptions::default()).await.unwrap();
    let first = connect(&server, first).unwrap();
    let of = server.clone();
    let followed = KubeconfigClient::open(&file, move |config| connect(&of, config)).await.unwrap();
    let part = followed.client();
    let (_signal, stop) = Stop::channel();
    tokio::spawn(Box::new(renewal).run(stop.clone()));
    tokio::spawn(Box::new(followed).run(stop));

    for _ in 0..5 {
        tokio::time::advance(MONTHS).await;
        tokio::time::sleep(3 * LOOK).await;
        assert_eq!(who(&part).await.unwrap(), "system:kube-scheduler");
    }

    assert!(matches!(who(&first).await, Err(kube::Error::Api(status)) if status.code == 401));
    server.shutdown().await;
}
