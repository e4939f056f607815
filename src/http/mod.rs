//! How requests leave this machine: through which proxy, trusting whom.
//!
//! Owns: the one way to make a client for a service, and the check of certificates that are to be trusted. Does not own:
//! any request, or bounds in time. Invariants: what is given as a certificate authority is checked before it is used; a
//! server on this machine is never asked through a proxy. Callers: `ingest` and `kms`.

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Certificate authorities to trust beside those of the system, as PEM; checked. By default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust(Vec<u8>);

/// Why a text is not one of certificates.
#[derive(Debug, thiserror::Error)]
#[error("no certificate in PEM form, or one that is damaged: {0}")]
pub struct TrustError(String);

impl Trust {
    /// Certificates in PEM form, one or several.
    ///
    /// # Errors
    /// When there is none, or something else where a certificate should be.
    pub fn from_pem(pem: Vec<u8>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| TrustError(error.to_string()))?;
            roots.add(certificate).map_err(|error| TrustError(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TrustError("there is none in it".to_owned()));
        }
        Ok(Self(pem))
    }
}

/// How a service is reached.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Its address, unless it is a service of AWS.
    pub endpoint_url: Option<String>,
    /// Connections kept for reuse.
    pub connections_max: usize,
    /// Whom to trust beside the authorities the system knows.
    pub trust: Option<Trust>,
}

/// What requests go through: plain for an endpoint that is, else TLS; through the proxy that the environment names
/// (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), except to this machine itself.
pub fn client(way: &Way) -> SharedHttpClient {
    let url = way.endpoint_url.as_deref().unwrap_or_default();
    let is_plain = url.starts_with("http://");
    let proxy = if is_here(host(url)) { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
    let (idle_max, trust) = (way.connections_max.max(1), way.trust.clone());
    Builder::new().pool_max_idle_per_host(idle_max).build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().pool_max_idle_per_host(idle_max).proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        if is_plain {
            return connector.build_http();
        }
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let connector = connector.tls_provider(provider);
        match context(trust.as_ref()) {
            Some(context) => connector.tls_context(context).build(),
            None => connector.build(),
        }
    })
}

fn context(trust: Option<&Trust>) -> Option<TlsContext> {
    let store = TrustStore::default().with_pem_certificate(trust?.0.clone());
    TlsContext::builder().with_trust_store(store).build().ok()
}

/// The host of a URL, without port and brackets.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_here(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url() {
        for (url, expected) in [
            ("http://127.0.0.1:4566", "127.0.0.1"),
            ("https://[::1]:9000/base", "::1"),
            ("https://s3.example.org", "s3.example.org"),
            ("https://user:word@s3.example.org:1/x@y", "s3.example.org"),
            ("s3.example.org/x", "s3.example.org"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    #[test]
    fn this_machine_is_not_asked_through_a_proxy() {
        let here = ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"];
        assert!(here.into_iter().all(is_here));
        let elsewhere = ["", "localhost.example.org", "10.0.0.1", "s3.example.org", "128.0.0.1"];
        assert!(!elsewhere.into_iter().any(is_here));
    }

    #[test]
    fn what_is_no_certificate_is_told_before_anything_is_sent() {
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no certificate\n", damaged] {
            assert!(Trust::from_pem(text.into()).is_err(), "{text}");
        }
    }
}
