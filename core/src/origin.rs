//! Which requests to a server without authentication come from a program of this machine, and not from a web page that a
//! browser of this machine shows.
//!
//! A page may send requests to a loopback address, and one whose name points there (DNS rebinding) may read the answers. Both
//! tell of themselves: a browser says where the page is from (`Origin`), and whom it takes the server for (`Host`).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Uri, header};

/// What is answered to a request that is not [`is_local`].
pub const REFUSAL: &str =
    "this address answers programs of this machine, not web pages: ask for it as 127.0.0.1 or localhost";

/// Whether a request names this machine as the one that it asks, and no web page of another as the one that asks.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Uri};
/// use quarterdeck_core::origin::is_local;
///
/// let (path, mut headers) = (Uri::from_static("/api/v1/pods"), HeaderMap::new());
/// headers.insert("host", "127.0.0.1:8080".parse().unwrap());
/// assert!(is_local(&path, &headers));
///
/// headers.insert("origin", "https://example.com".parse().unwrap());
/// assert!(!is_local(&path, &headers));
/// ```
#[must_use]
pub fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let asked = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let is_from_here = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        origin.is_some_and(|origin| origin.authority().is_some_and(|it| is_this_machine(it.as_str())))
    };
    asked.is_none_or(is_this_machine) && headers.get_all(header::ORIGIN).iter().all(is_from_here)
}

/// Whether a host, with or without a port, is `localhost` or a loopback address.
fn is_this_machine(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:8080",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com:80",
            "127.0.0.1.example.com",
            "10.0.0.1:80",
            "[fe80::1]",
            "localhost:x",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn pages_of_this_machine_are_told_from_others() {
        for (origin, is_ours) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("https://example.com", false),
            ("http://localhost@example.com", false),
            ("null", false),
            ("file://", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
            assert_eq!(is_local(&Uri::from_static("/api"), &headers), is_ours, "{origin}");
        }
    }

    #[test]
    fn a_name_in_the_address_counts_before_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());

        assert!(!is_local(&Uri::from_static("http://example.com/api"), &headers));
        assert!(is_local(&Uri::from_static("http://localhost:1/api"), &headers));
        // A client of HTTP/1.0 names nobody; a browser always does.
        assert!(is_local(&Uri::from_static("/api"), &HeaderMap::new()));
    }
}
