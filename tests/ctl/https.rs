//! The management API behind something that ends TLS: whose certificates are believed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::program::*;

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as a file.
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), own.pem()).expect("it is written");
        Self { issuer: Issuer::new(params, key), file }
    }

    fn path(&self) -> &str {
        self.file.path().to_str().expect("UTF-8")
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { certificate: certificate.der().to_vec(), key: key.serialize_der() }
    }
}

struct Signed {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Ends TLS in front of the API, as a load balancer does, for as long as the test's process lives.
/// Answers the address with https.
fn terminate(signed: Signed, api: SocketAddr) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![signed.certificate.into()],
            PrivateKeyDer::try_from(signed.key).expect("a key"),
        )
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // One that doesn't believe the certificate ends it.
            let _ = pass(client, &config, api);
        }
    });
    url
}

/// One request and its answer.
fn pass(client: TcpStream, config: &Arc<ServerConfig>, api: SocketAddr) -> io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(tls, client);
    let mut request = Vec::new();
    while !is_whole(&request) {
        let mut part = [0; 4096];
        let count = client.read(&mut part)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..count]);
    }
    let text = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let mut behind = TcpStream::connect(api)?;
    behind.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    behind.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let len = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= len.map_or(0, |len| len.trim().parse().expect("a length"))
}

#[test]
fn a_certificate_that_the_named_authority_signed_is_believed() {
    let managed = Managed::start();
    let authority = Authority::new();
    let url = terminate(authority.sign("127.0.0.1", |_| {}), managed.broker.http_address());
    let ask = |words: &[&str]| run(&[&["--url", &url], words].concat(), "");
    ask(&["--ca-file", authority.path(), "add_vhost", "v"]).expect(0);
    let listed = ask(&["--cacert", authority.path(), "-s", "list_vhosts"]).expect(0);
    assert_eq!(listed, "/\nv\n");
    ask(&["--cacert", authority.path(), "ping"]).expect(0);
}

#[test]
fn a_certificate_that_is_not_believed_is_said_with_a_remedy() {
    let managed = Managed::start();
    let (authority, other) = (Authority::new(), Authority::new());
    let api = managed.broker.http_address();
    let url = terminate(authority.sign("127.0.0.1", |_| {}), api);
    let ask = |url: &str, file: &str| run(&["--url", url, "--ca-file", file, "list_vhosts"], "");
    run(&["--url", &url, "list_vhosts"], "").expect_failed(69, "with --ca-file");
    ask(&url, other.path()).expect_failed(69, "signed by nobody who is trusted");

    let elsewhere = terminate(authority.sign("broker.example.com", |_| {}), api);
    ask(&elsewhere, authority.path()).expect_failed(69, "is for another name");
    let old = authority.sign("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    ask(&terminate(old, api), authority.path()).expect_failed(69, "has expired");

    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    ask(&url, path).expect_failed(65, "no certificate in the file of --ca-file");
    ask(&url, "/no/such/file").expect_failed(65, "/no/such/file");
}

#[test]
fn http_where_https_is_spoken_and_the_other_way_round_is_said() {
    let managed = Managed::start();
    let authority = Authority::new();
    let url = terminate(authority.sign("127.0.0.1", |_| {}), managed.broker.http_address());
    let plain = url.replace("https://", "http://");
    run(&["--url", &plain, "list_vhosts"], "").expect_failed(69, "https://");
    let secure = managed.url().replace("http://", "https://");
    run(&["--url", &secure, "list_vhosts"], "").expect_failed(69, "is it http://");
}
