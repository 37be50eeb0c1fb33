//! As in a pod: a service account with token and CA, and a server that speaks TLS.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{BINARY, server::Server};

/// A CA with a certificate for 127.0.0.1, made by openssl.
const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -days 2 \"$@\"; }
new -x509 -keyout ca.key -out ca.crt
new -keyout server.key -out server.csr
echo subjectAltName=IP:127.0.0.1 >names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt";

/// The doctor where a pod finds its service account, in a mount namespace of its own.
const IN_POD: &str = "set -e
mount -t tmpfs none /run
dir=/run/secrets/kubernetes.io/serviceaccount
mkdir -p $dir
cp \"$0\"/ca.crt $dir/ca.crt
printf secret >$dir/token
printf default >$dir/namespace
exec \"$1\" doctor --format json";

/// Takes TLS off and hands on to the server.
async fn tls(dir: &Path, behind: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(dir.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut behind = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    address
}

async fn diagnosed(dir: &Path, address: SocketAddr) -> Value {
    let mut command = testkit::command("unshare");
    command
        .args(["--mount", "sh", "-c", IN_POD])
        .arg(dir)
        .arg(BINARY)
        .env("KUBERNETES_SERVICE_HOST", address.ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", address.port().to_string())
        .env("NODE_NAME", "node1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let doctor: Value = serde_json::from_slice(&output.stdout).unwrap();
    doctor["names"][0].clone()
}

#[tokio::test]
async fn given_a_service_account_then_the_cluster_is_found_over_tls_and_only_its_own_ca_is_trusted() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let server = Server::recorded().await;
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let address = tls(dir.path(), server.address).await;
    let kubernetes = diagnosed(dir.path(), address).await;
    let says = format!("7 pods of node node1, from https://{address}");
    assert_eq!(
        (&kubernetes["ok"], kubernetes["says"].as_str()),
        (&true.into(), Some(&*says))
    );
    assert_eq!(server.token().as_deref(), Some("Bearer secret"));

    // Another CA.
    fs::copy(dir.path().join("server.crt"), dir.path().join("ca.crt")).unwrap();
    let kubernetes = diagnosed(dir.path(), address).await;
    assert_eq!(
        (&kubernetes["asked"], &kubernetes["ok"]),
        (&true.into(), &false.into()),
        "{kubernetes}"
    );
    assert!(
        kubernetes["says"].as_str().unwrap().contains("certificate"),
        "{kubernetes}"
    );
}
