//! Whose certificates are believed over https, and why one is not.

use rustls::CertificateError;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::Failure;

/// Believes those that are signed by one of these certificates, and no others.
pub(super) fn trusting(pem: &[u8]) -> Result<TlsConfig, Failure> {
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(pem) {
        let item = item
            .map_err(|error| Failure::data(format!("the file of --ca-file is no PEM: {error}")))?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(Failure::data("there is no certificate in the file of --ca-file"));
    }
    let roots = RootCerts::new_with_certs(&found);
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// What is wrong with the TLS of an address, and what to do, if that is what failed.
pub(super) fn told(error: &ureq::Error, base: &str) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    Some(match error {
        rustls::Error::InvalidCertificate(why) => distrust(why, base),
        rustls::Error::InvalidMessage(_) => {
            format!("{base} does not answer with TLS: is it http:// rather than https://?")
        }
        other => format!("no TLS with {base}: {other}"),
    })
}

fn distrust(why: &CertificateError, base: &str) -> String {
    let (why, remedy) = match why {
        // An authority of the same name and another key makes for a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "is signed by nobody who is trusted".to_owned(),
            "name a file with the certificate of its authority with --ca-file",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("is for another name: {why}"),
            "use a name in --url that the certificate has, or have one made for this name",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (format!("has expired: {why}"), "renew it where the TLS of the broker ends")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("is not valid yet: {why}"), "is the clock of this machine right?")
        }
        why => (format!("can't be trusted: {why}"), "--ca-file says whose certificates are"),
    };
    format!("the certificate of {base} {why}; {remedy}")
}
