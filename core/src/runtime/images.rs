//! Images: what containers are started from.

use std::fmt::{self, Debug};

use async_trait::async_trait;

use super::RuntimeError;

/// Access to the images of a [`Runtime`](super::Runtime). Whether and when to pull is the agent's decision.
///
/// # Contract
///
/// 1. An image that `pull` returned is `present`, with the same id.
/// 2. An image that is not there is `None` from `present`; no error, and nothing is fetched.
/// 3. An image that the runtime can never have, or whose name is malformed, is [`RuntimeError::Unsupported`] from both.
/// 4. A dropped `pull` may go on or be given up; calling it again is safe.
#[async_trait]
pub trait Images: Send + Sync {
    /// Returns the image if it is there.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Unsupported`] if the runtime can never have it, [`RuntimeError::Unavailable`].
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError>;

    /// Fetches the newest image of this name.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::PullFailed`], [`RuntimeError::Unsupported`], [`RuntimeError::Unavailable`].
    async fn pull(&self, image: &str, credentials: Option<&Credentials>) -> Result<Image, RuntimeError>;
}

const _: Option<&dyn Images> = None; // object safety is API: losing it must not compile

/// An image that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What identifies its content, such as a digest.
    pub id: String,
    /// The user that its programs run as unless told otherwise, as the image says it: a name or a number.
    pub user: Option<String>,
    /// Its size in bytes; 0 if it takes no room.
    pub size: u64,
}

/// A user of an image registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The user's password or token.
    pub password: String,
    /// The registry's host name, as the credentials name it; empty if they do not.
    pub server: String,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
