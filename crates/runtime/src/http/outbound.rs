//! Outgoing HTTP: one client for all sinks, which refuses internal addresses unless they are allowed (server-side request forgery).
//! Names are resolved here and the connection goes to the address that was checked, so that a name can't change its mind in between.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub use ipnet::IpNet;
pub use reqwest::{Client, Error, Method, RequestBuilder, Response, StatusCode, Url, header};

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{0} is an internal address; list its network in allow_internal to reach it")]
    Internal(IpAddr),
    #[error("url {url}: {reason}")]
    Url { url: String, reason: String },
    #[error("http client: {0}")]
    Client(String),
}

impl OutboundError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Internal(_) => "internal_address",
            Self::Url { .. } => "invalid_url",
            Self::Client(_) => "http_client",
        }
    }
}

/// True for addresses that outgoing requests must not reach by themselves: loopback, private, link-local (cloud metadata), unspecified …
#[must_use]
pub fn is_internal(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.octets()[0] == 0
                || shared
        }
        IpAddr::V6(v6) => {
            let nat64 = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || nat64
        }
    }
}

#[derive(Clone, Debug)]
struct Guard(Arc<Vec<IpNet>>);

impl Guard {
    fn check(&self, ip: IpAddr) -> Result<(), OutboundError> {
        let allowed = self.0.iter().any(|net| net.contains(&ip.to_canonical()));
        if is_internal(ip) && !allowed { Err(OutboundError::Internal(ip)) } else { Ok(()) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for addr in &found {
                guard.check(addr.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A client for this process's own listeners: nothing else is to be reached with it.
///
/// # Errors
/// The TLS back end can't be set up.
pub fn loopback() -> Result<Client, OutboundError> {
    let networks = ["127.0.0.0/8", "::1/128"].iter().filter_map(|n| n.parse().ok()).collect();
    let limit = Duration::from_secs(30);
    let options = Options { allow_internal: networks, timeout: limit, connect_timeout: limit, ca: None };
    Outbound::new(&options).map(|o| o.client)
}

/// A client with the guard; redirects are not followed, since a redirect leads past the check of literals.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: Client,
    guard: Guard,
}

/// How a client reaches out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Internal networks that it may reach all the same.
    pub allow_internal: Vec<IpNet>,
    /// Of a whole request.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// PEM bundle of authorities to trust in addition.
    pub ca: Option<Vec<u8>>,
}

/// Every address: for a sink that is declared with `allow_internal`.
#[must_use]
pub fn anywhere() -> Vec<IpNet> {
    ["0.0.0.0/0", "::/0"].iter().filter_map(|n| n.parse().ok()).collect()
}

impl Outbound {
    /// # Errors
    /// The authorities are no PEM, or the TLS back end can't be set up.
    pub fn new(options: &Options) -> Result<Self, OutboundError> {
        super::tls::provider();
        let fail = |e: reqwest::Error| OutboundError::Client(e.to_string());
        let guard = Guard(Arc::new(options.allow_internal.clone()));
        let mut builder = Client::builder()
            .dns_resolver(Arc::new(guard.clone()))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(options.timeout)
            .connect_timeout(options.connect_timeout)
            .user_agent(concat!("atio/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.ca {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(fail)?);
        }
        Ok(Self { client: builder.build().map_err(fail)?, guard })
    }
    /// The url, where it is http(s) and no internal address written out.
    ///
    /// # Errors
    /// It is neither, or it has user and password in it.
    pub fn url(&self, text: &str) -> Result<Url, OutboundError> {
        let fail = |reason: &str| OutboundError::Url { url: text.to_owned(), reason: reason.to_owned() };
        let url = Url::parse(text).map_err(|e| fail(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fail("only http and https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Url {
                url: "(hidden)".into(),
                reason: "has credentials in it; use `auth` with a reference".into(),
            });
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.guard.check(ip)?;
        }
        Ok(url)
    }
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn internal_addresses_are_refused_by_literal_and_by_name() {
        let seconds = Duration::from_secs(5);
        let options =
            |allow_internal| Options { allow_internal, timeout: seconds, connect_timeout: seconds, ca: None };
        let outbound = Outbound::new(&options(vec![])).unwrap();
        for text in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://169.254.169.254/",
            "http://10.1.1.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://0/",
            "http://2130706433/",
        ] {
            assert_eq!(outbound.url(text).unwrap_err().code(), "internal_address", "{text}");
        }
        assert_eq!(outbound.url("ftp://h/").unwrap_err().code(), "invalid_url");
        assert!(!outbound.url("http://u:secret@h/").unwrap_err().to_string().contains("secret"));
        let by_name = outbound.client().get("http://localhost:1/").send().await.unwrap_err();
        let chain = format!("{by_name:?}");
        assert!(chain.contains("Internal"), "{chain}");
        let allowed = Outbound::new(&options(vec!["127.0.0.0/8".parse().unwrap()])).unwrap();
        assert!(Outbound::new(&options(anywhere())).unwrap().url("http://[::1]/").is_ok());
        assert!(allowed.url("http://127.0.0.1/").is_ok());
    }
}
