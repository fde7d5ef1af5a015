//! Tokens that a file lists.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::{Authenticator, bearer_token, for_server};
use crate::user::User;

/// Knows users by tokens that somebody wrote down, as `--token-auth-file` does: they are good until the server is started with
/// others.
///
/// # Examples
///
/// ```
/// use quarterdeck_registry::layers::authentication::StaticTokens;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = StaticTokens::from_csv("s3cr3t,ann,1,\"crew,system:masters\"\n")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StaticTokens {
    /// By the digests of the tokens: how long a look-up takes says nothing about them.
    users: BTreeMap<[u8; 32], User>,
}

/// Why a text lists no tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// A line has too few columns.
    #[error(
        "line {0} of the token file has fewer than three columns: write token,user,uid,\"group1,group2\""
    )]
    Columns(usize),
    /// A line has no token, or no user.
    #[error("line {0} of the token file has an empty token or user")]
    Empty(usize),
    /// A quotation does not end.
    #[error("line {0} of the token file has a quotation that does not end")]
    Quotation(usize),
    /// A token stands there twice.
    #[error("line {0} of the token file has a token that an earlier line has too")]
    Twice(usize),
}

impl StaticTokens {
    /// Reads comma-separated lines: token, user name, uid, and groups in quotation marks.
    ///
    /// # Errors
    ///
    /// [`TokenFileError`], with the line; no message shows a token.
    pub fn from_csv(text: &str) -> Result<Self, TokenFileError> {
        let mut users = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let columns = columns(line).ok_or(TokenFileError::Quotation(number))?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(TokenFileError::Columns(number));
            };
            if token.is_empty() || name.is_empty() {
                return Err(TokenFileError::Empty(number));
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default().split(',').map(str::trim);
            let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
            if users.insert(digest(token), user).is_some() {
                return Err(TokenFileError::Twice(number));
            }
        }
        Ok(Self { users })
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Takes a line apart; `None` if a quotation does not end.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    let mut rest = line.trim_end_matches('\r');
    loop {
        rest = rest.trim_start_matches(' ');
        let column = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (column, behind) = quotation(quoted)?;
                rest = behind;
                column
            }
            None => {
                let (column, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                rest = behind;
                column.to_owned()
            }
        };
        columns.push(column);
        match rest.find(',') {
            Some(comma) => rest = &rest[comma + 1..],
            None => return Some(columns),
        }
    }
}

/// Reads what stands up to the closing quotation mark; two of them stand for one.
fn quotation(text: &str) -> Option<(String, &str)> {
    let mut column = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        column.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                column.push('"');
                rest = more;
            }
            None => return Some((column, behind)),
        }
    }
}

#[async_trait]
impl Authenticator for StaticTokens {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let user = bearer_token(parts).and_then(|token| self.users.get(&digest(token)));
        Ok(user.cloned())
    }

    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let Some(user) = self.users.get(&digest(token)) else { return Ok(None) };
        Ok(Some((user.clone(), for_server(audiences)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_may_be_quoted() {
        let line = columns(r#"a b, "x,y","say ""hi""",,z"#).unwrap();

        assert_eq!(line, ["a b", "x,y", "say \"hi\"", "", "z"]);
        assert_eq!(columns("a,\"b"), None);
    }

    #[test]
    fn a_broken_file_is_refused_by_line() {
        let refused = |text: &str| StaticTokens::from_csv(text).unwrap_err().to_string();
        assert!(refused("t,u,1\nt2,u\n").starts_with("line 2 of the token file has fewer than three"));
        assert!(refused(",u,1").contains("empty"));
        assert!(refused("t,u,1,\"g").contains("does not end"));
        assert!(refused("t,u,1\n\nt,v,2").starts_with("line 3"));
    }
}
