//! A cache layer around a whole axum router, over a real socket.

#![cfg(feature = "axum")]
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use larder::{Cache, CacheLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_router_with_a_cache_around_it_is_served() -> std::io::Result<()> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler = move || async move { format!("run {}", counted.fetch_add(1, Ordering::SeqCst)) };
    let router = Router::new().route("/", get(handler));
    let site = CacheLayer::per_site().cache(&Cache::memory()).cache_status("larder").around(router);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, site.into_make_service()).await });
    for expected in ["larder; fwd=uri-miss; stored", "larder; hit; ttl="] {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.contains(&format!("cache-status: {expected}")), "{answer}");
        assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("run 0"), "{answer}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    server.abort();
    Ok(())
}
