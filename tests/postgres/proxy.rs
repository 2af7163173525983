//! A network that misbehaves at a chosen message: between Tandem and a server without TLS, so that it can be read.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What happens to each message that contains one of the words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mishap {
    /// It arrives this much later.
    Late(Duration),
    /// It arrives, and the answer does not.
    AnswerLost,
    /// It does not arrive; the connection is closed on both sides.
    Lost,
}

/// Listens on a port of its own for connections to the server; each meets with the mishap.
pub(crate) async fn proxy(to: String, words: &'static [&'static str], mishap: Mishap) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&to).await else {
                continue;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let answers = tokio::spawn(pass(from_server, to_client));
            tokio::spawn(async move {
                forward(from_client, to_server, words, mishap, &answers).await;
                answers.abort();
            });
        }
    });
    Ok(port)
}

/// Everything that the driver sends at once comes in one piece.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    words: &[&str],
    mishap: Mishap,
    answers: &tokio::task::JoinHandle<()>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]);
        if words.iter().any(|words| text.contains(words)) {
            match mishap {
                Mishap::Late(time) => tokio::time::sleep(time).await,
                Mishap::AnswerLost => answers.abort(),
                Mishap::Lost => return,
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // What was sent is still to be done after its sender is gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}
