//! Who is let in, besides those with the cluster's own certificates and tokens, and what is written down of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quarterdeck_core::clock::Clock;
use quarterdeck_registry::ApiServerBuilder;
use quarterdeck_registry::audit::{Audit, AuditFileOptions, Policy, Rotation};
use quarterdeck_registry::layers::authentication::{Anonymous, BootstrapTokens, StaticTokens};
use quarterdeck_registry::tls::{
    Authorities, ClientCertificates, OpenId, RequestHeaders, ServiceAccountKey, ServiceAccountTokens,
};

use crate::cli::AccessOptions;
use crate::error::{Failure, Result};
use crate::server::Identities;

/// What the options name, read.
pub(crate) struct Access {
    audit: Option<Audit>,
    static_tokens: Option<StaticTokens>,
    bootstrap_tokens: bool,
    proxies: Option<RequestHeaders>,
    certificates: ClientCertificates,
    open_id: Option<OpenId>,
    anonymous: bool,
}

impl Access {
    /// Reads the files that the options name.
    pub(crate) fn open(options: &AccessOptions, identities: &Identities) -> Result<Self> {
        let static_tokens = options.token_auth_file.as_deref().map(static_tokens).transpose()?;
        Ok(Self {
            audit: audit(options)?,
            static_tokens,
            bootstrap_tokens: options.enable_bootstrap_token_auth,
            proxies: proxies(options, identities),
            certificates: ClientCertificates::of(identities.clients.clone()),
            open_id: open_id(options)?,
            anonymous: options.anonymous_auth,
        })
    }

    /// Sets a server up to let in whoever may come.
    pub(crate) fn apply(self, builder: ApiServerBuilder, key: ServiceAccountKey) -> ApiServerBuilder {
        let clock = Clock::system();
        let mut builder = match self.proxies {
            Some(proxies) => builder.authenticator(proxies),
            None => builder,
        };
        builder = builder.authenticator(self.certificates);
        builder = builder.authenticator(ServiceAccountTokens::new(key, clock.clone()));
        if let Some(tokens) = self.static_tokens {
            builder = builder.authenticator(tokens);
        }
        if self.bootstrap_tokens {
            builder = builder.authenticator(BootstrapTokens::new(clock));
        }
        if let Some(open_id) = self.open_id {
            builder = builder.authenticator(open_id);
        }
        if let Some(audit) = self.audit {
            builder = builder.audit(audit);
        }
        // The last to be asked.
        if self.anonymous { builder.authenticator(Anonymous) } else { builder }
    }
}

/// Returns the authorities whose certificates users show: the cluster's own, and those of a file.
pub(crate) fn client_authorities(options: &AccessOptions, own: &str) -> Result<Authorities> {
    authorities_with(own, &further_clients(options)?)
}

/// Returns the cluster's own authority and further ones.
pub(crate) fn authorities_with(own: &str, further: &str) -> Result<Authorities> {
    let authorities = Authorities::new(&format!("{own}\n{further}"), Clock::system());
    authorities.map_err(|error| Failure::because("cannot set up TLS", &error))
}

/// Returns the certificates of those authorities of users that are not the cluster's own.
pub(crate) fn further_clients(options: &AccessOptions) -> Result<String> {
    let Some(path) = &options.client_ca_file else { return Ok(String::new()) };
    let others = read(path)?;
    // By itself: the cluster's own is good for nothing here.
    Authorities::new(&others, Clock::system()).map_err(|error| because(path, &error))?;
    Ok(others)
}

/// Checks that no authority of proxies signs users' certificates, unless proxies are known by their names.
pub(crate) fn apart(options: &AccessOptions, users: &Authorities, proxies: &Authorities) -> Result<()> {
    if !options.requestheader_allowed_names.is_empty() || !users.overlap(proxies) {
        return Ok(());
    }
    Err(Failure::new(
        "an authority in --requestheader-client-ca-file signs users' certificates, too (it is in --client-ca-file, or the cluster's own), so that any user could name anybody in headers: say with --requestheader-allowed-names which certificates are proxies'".to_owned(),
    ))
}

/// Returns the authorities whose certificates proxies show, if there are any.
pub(crate) fn proxy_authorities(options: &AccessOptions) -> Result<Option<Authorities>> {
    let Some(path) = &options.requestheader_client_ca_file else { return Ok(None) };
    let authorities = Authorities::new(&read(path)?, Clock::system());
    authorities.map(Some).map_err(|error| because(path, &error))
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

fn because(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::because(&format!("cannot use {}", path.display()), error)
}

fn static_tokens(path: &Path) -> Result<StaticTokens> {
    StaticTokens::from_csv(&read(path)?).map_err(|error| because(path, &error))
}

fn audit(options: &AccessOptions) -> Result<Option<Audit>> {
    let (Some(policy), Some(log)) = (&options.audit_policy_file, &options.audit_log_path) else {
        return Ok(None);
    };
    let policy = Policy::from_yaml(&read(policy)?).map_err(|error| because(policy, &error))?;
    let file = AuditFileOptions::default().rotation(rotation(options)).open(log);
    let file = file.map_err(|error| because(log, &error))?;
    Ok(Some(Audit::new(policy, file)))
}

/// When the audit log gives way to a new one. Zero is what nobody asked for, as upstream.
fn rotation(options: &AccessOptions) -> Rotation {
    const MEGABYTE: u64 = 1 << 20;
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let megabytes = if options.audit_log_maxsize == 0 { 100 } else { options.audit_log_maxsize };
    let mut rotation = Rotation::at(u64::from(megabytes) * MEGABYTE);
    if options.audit_log_maxbackup > 0 {
        rotation = rotation.max_backups(options.audit_log_maxbackup as usize);
    }
    if options.audit_log_maxage > 0 {
        rotation = rotation.max_age(DAY * options.audit_log_maxage);
    }
    rotation
}

fn proxies(options: &AccessOptions, identities: &Identities) -> Option<RequestHeaders> {
    let headers = RequestHeaders::of(identities.proxies.clone()?);
    let headers = headers
        .beside(identities.clients.clone())
        .allowed_names(options.requestheader_allowed_names.iter().cloned())
        .user_headers(options.requestheader_username_headers.iter().cloned())
        .group_headers(options.requestheader_group_headers.iter().cloned())
        .extra_prefixes(options.requestheader_extra_headers_prefix.iter().cloned());
    Some(headers)
}

fn open_id(options: &AccessOptions) -> Result<Option<OpenId>> {
    let (Some(issuer), Some(client), Some(path)) =
        (&options.oidc_issuer_url, &options.oidc_client_id, &options.oidc_jwks_file)
    else {
        return Ok(None);
    };
    let open_id = OpenId::new(issuer, client, &read(path)?, Clock::system());
    let mut open_id = open_id.map_err(|error| because(path, &error))?;
    open_id = open_id.username_claim(&options.oidc_username_claim).groups_prefix(&options.oidc_groups_prefix);
    if let Some(prefix) = &options.oidc_username_prefix {
        open_id = open_id.username_prefix(prefix);
    }
    if let Some(claim) = &options.oidc_groups_claim {
        open_id = open_id.groups_claim(claim);
    }
    Ok(Some(open_id))
}
