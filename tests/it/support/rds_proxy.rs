//! What RDS Proxy does that `PgBouncer` does not: it refuses a session with startup options, as a
//! feature that it does not have.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SSL_REQUEST: i32 = 80_877_103;

/// A running proxy, stopped with this value.
pub struct RdsProxy {
    accepting: JoinHandle<()>,
    url: String,
}

impl RdsProxy {
    /// In front of the database of a URL.
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (user, rest) = url.split_once('@').expect("a URL with a user");
        let (host, database) = rest.split_once('/').expect("a URL with a database");
        let (host, url) = (host.to_owned(), format!("{user}@127.0.0.1:{port}/{database}"));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, host.clone()));
            }
        });
        Self { accepting, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for RdsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, host: String) -> io::Result<()> {
    let startup = loop {
        let length = client.read_i32().await?;
        let mut message = vec![0; usize::try_from(length - 4).expect("a length")];
        client.read_exact(&mut message).await?;
        if message[..4] != SSL_REQUEST.to_be_bytes() {
            break message;
        }
        client.write_all(b"N").await?;
    };
    if startup[4..].split(|byte| *byte == 0).any(|word| word == b"options") {
        let fields = "SFATAL\0VFATAL\0C0A000\0MFeature not supported: RDS Proxy currently doesn't support command-line options.\0\0";
        client.write_u8(b'E').await?;
        client.write_i32(i32::try_from(fields.len() + 4).expect("short")).await?;
        client.write_all(fields.as_bytes()).await?;
        return client.shutdown().await;
    }
    let mut server = TcpStream::connect(host).await?;
    server.write_i32(i32::try_from(startup.len() + 4).expect("short")).await?;
    server.write_all(&startup).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
