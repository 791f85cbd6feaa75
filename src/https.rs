//! HTTPS as all calls of this program make it: rustls, the proxy that `HTTPS_PROXY` and `NO_PROXY` name,
//! and the roots of this machine (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others) or, as for other
//! programs that speak to AWS, those of `AWS_CA_BUNDLE` instead.

use std::path::Path;
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// For a connection to be there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const BUNDLE: &str = "AWS_CA_BUNDLE";

/// What sends requests, and keeps connections for the next ones. It follows no redirect.
///
/// # Errors
/// When `AWS_CA_BUNDLE` names a file that cannot be used.
pub(crate) fn connector() -> Result<SharedHttpConnector, String> {
    connector_by(bundle().as_deref().map(Path::new), ProxyConfig::from_env())
}

/// Whether the roots are not those of this machine.
pub(crate) fn has_own_roots() -> bool {
    bundle().is_some()
}

fn bundle() -> Option<String> {
    std::env::var(BUNDLE).ok().filter(|file| !file.trim().is_empty())
}

/// With the roots of a file, if one is given, and through a proxy.
pub(crate) fn connector_by(
    bundle: Option<&Path>,
    proxy: ProxyConfig,
) -> Result<SharedHttpConnector, String> {
    let mut tls = TlsContext::builder();
    if let Some(file) = bundle {
        let pem = checked(file).map_err(|why| format!("{BUNDLE} {}: {why}", file.display()))?;
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls.build().map_err(|error| error.to_string())?;
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(proxy)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build();
    Ok(SharedHttpConnector::new(connector))
}

/// The certificates of a file: the TLS library would panic on others.
fn checked(file: &Path) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("it is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate).map_err(|error| {
            format!("it holds a certificate that is not a root certificate: {error}")
        })?;
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn refusal(content: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content.as_bytes()).expect("it is written");
        let refused = connector_by(Some(file.path()), ProxyConfig::disabled());
        refused.expect_err("it cannot be used")
    }

    #[test]
    fn a_bundle_that_cannot_be_used_is_named() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (content, says) in [
            ("", "it holds no certificate"),
            ("nonsense", "it holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "it is not PEM"),
            (pem, "not a root certificate"),
        ] {
            let line = refusal(content);
            assert!(line.starts_with("AWS_CA_BUNDLE /") && line.contains(says), "{line}");
        }
        let line = connector_by(Some(Path::new("/nowhere/ca.pem")), ProxyConfig::disabled());
        assert!(line.expect_err("it is not there").contains("AWS_CA_BUNDLE /nowhere/ca.pem"));
    }
}
