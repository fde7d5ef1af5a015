//! The gate of authentication, behind which a request is told of by [`AuditLayer`]: what is refused here is told of here.

use async_trait::async_trait;
use http::request::Parts;
use http::{Request, header};

use super::Audit;
use super::layer::{AuditLayer, describe};
use super::record::Record;
use crate::layers::authentication::Authentication;
use crate::layers::gate::Gate;
use crate::status::Status;
use crate::user::User;

/// Lets in whom authentication knows, and tells of those whom it refuses, if anybody wants to know.
#[derive(Debug, Clone)]
pub(crate) struct KnownOnly {
    authentication: Authentication,
    layer: AuditLayer,
}

impl KnownOnly {
    pub(crate) fn new(authentication: Authentication, layer: AuditLayer) -> Self {
        Self { authentication, layer }
    }

    /// Tells of a request of nobody known.
    fn tell(&self, audit: &Audit, parts: Parts, scheme: Option<&str>) {
        let mut request = Request::from_parts(parts, ());
        let described = describe(&mut request);
        let verdict = audit.policy.verdict(&User::default(), &described.verb, &described.info);
        let message = match scheme {
            Some(tried @ ("bearer" | "basic")) => format!("Authentication failed, attempted: {tried}"),
            _ => "Authentication failed, no credentials provided".to_owned(),
        };
        Record::refused(audit, &self.layer.clock, &request, described, (&verdict, &message));
    }
}

#[async_trait]
impl Gate for KnownOnly {
    async fn check(&self, mut parts: Parts) -> Result<Parts, Status> {
        let Some(audit) = &self.layer.audit else {
            self.authentication.know(&mut parts).await?;
            return Ok(parts);
        };
        // Authentication may put a WebSocket's token there.
        let shown = parts.headers.get(header::AUTHORIZATION).cloned();
        if let Err(status) = self.authentication.know(&mut parts).await {
            let scheme = shown.as_ref().and_then(|shown| shown.to_str().ok()?.split(' ').next());
            self.tell(audit, parts, scheme.map(str::to_ascii_lowercase).as_deref());
            return Err(status);
        }
        Ok(parts)
    }
}
