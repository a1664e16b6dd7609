//! The layer in an axum server, seen from the other end of a socket: lengths, HEAD, streams, upgrades.
//! The client is written by hand, so that nothing between hides a wrong byte.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{any, get, post};
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Layer;

use crate::world::{World, worlds};

/// Serves the router with the layer inside and with the layer around it.
async fn serve(world: &World, router: Router) -> [SocketAddr; 2] {
    let inside = router.clone().layer(world.site().key_prefix("inside"));
    let around = Router::new().fallback_service(world.site().key_prefix("around").layer(router));
    let mut addresses = Vec::new();
    for router in [inside, around] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    [addresses[0], addresses[1]]
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until what was read satisfies `until`.
async fn read(stream: &mut TcpStream, until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut came = Vec::new();
    let mut buffer = [0; 4096];
    while !until(&came) {
        let count = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer));
        match count.await.unwrap_or_else(|_| panic!("only {:?} came", String::from_utf8_lossy(&came))).unwrap() {
            0 => break,
            count => came.extend_from_slice(&buffer[..count]),
        }
    }
    came
}

/// Head and body of one exchange on a connection of its own.
async fn exchange(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n");
    let came = read(&mut connect(address, &request).await, |_| false).await;
    let came = String::from_utf8(came).unwrap();
    let (head, body) = came.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn lengths(head: &str) -> Vec<&str> {
    head.lines().filter_map(|line| line.strip_prefix("content-length: ")).collect()
}

#[tokio::test]
async fn lengths_are_right_on_misses_hits_and_heads() {
    for world in worlds() {
        let router = Router::new().route("/", get(|| async { "four" })).route("/empty", get(|| async {}));
        for address in serve(&world, router).await {
            for (path, body) in [("/", "four"), ("/empty", "")] {
                let length = body.len().to_string();
                for status in ["fwd=uri-miss; stored", "hit", "hit"] {
                    let (head, came) = exchange(address, "GET", path).await;
                    assert!(head.contains(&format!("cache-status: larder; {status}")), "{} {head}", world.name);
                    assert_eq!((lengths(&head), came.as_str()), (vec![length.as_str()], body), "{} {head}", world.name);
                    assert!(!head.contains("transfer-encoding"));
                }
                let (head, came) = exchange(address, "HEAD", path).await;
                assert!(head.contains("larder; hit"), "{} {head}", world.name);
                assert_eq!((lengths(&head), came.as_str()), (vec![length.as_str()], ""), "{} {head}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn a_head_that_comes_first_says_the_same_as_one_that_hits() {
    for world in worlds() {
        let router = Router::new().route("/", get(|| async { "four" }));
        for address in serve(&world, router).await {
            let (miss, _) = exchange(address, "HEAD", "/").await;
            let (hit, _) = exchange(address, "HEAD", "/").await;
            assert!(hit.contains("larder; hit"), "{} {hit}", world.name);
            assert_eq!(lengths(&miss), lengths(&hit), "{} {miss} {hit}", world.name);
            assert!(lengths(&hit).iter().all(|length| *length == "4"), "{} a wrong length: {hit}", world.name);
            assert_eq!(exchange(address, "GET", "/").await.1, "four");
        }
    }
}

#[tokio::test]
async fn a_stream_arrives_before_it_ends() {
    for world in worlds() {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let receive = std::sync::Arc::new(tokio::sync::Mutex::new(receive));
        let router = Router::new().route(
            "/",
            get(move || async move {
                let frames = futures_util::stream::unfold(receive, |receive| async move {
                    let text = receive.lock().await.recv().await?;
                    let frame = http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes()));
                    (!text.is_empty()).then_some((Ok::<_, std::io::Error>(frame), receive))
                });
                Response::new(Body::new(StreamBody::new(frames)))
            }),
        );
        for address in serve(&world, router).await {
            let request = "GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
            let mut stream = connect(address, request).await;
            send.send("first").unwrap();
            read(&mut stream, |came| came.windows(5).any(|text| text == b"first")).await;
            send.send("second").unwrap();
            send.send("").unwrap();
            let rest = read(&mut stream, |_| false).await;
            assert!(String::from_utf8(rest).unwrap().contains("second"), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn a_post_goes_through_with_its_body() {
    for world in worlds() {
        let router = Router::new().route("/", post(|body: String| async move { format!("got {body}") }));
        for address in serve(&world, router).await {
            for body in ["one", "two"] {
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\ncontent-length: 3\r\n\r\n{body}"
                );
                let came = read(&mut connect(address, &head).await, |_| false).await;
                let came = String::from_utf8(came).unwrap();
                assert!(came.ends_with(&format!("got {body}")), "{}: {came}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_opens_and_echoes() {
    for world in worlds() {
        let echo = |upgrade: WebSocketUpgrade| async {
            upgrade.on_upgrade(|mut socket| async move {
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    socket.send(Message::Text(text)).await.unwrap();
                }
            })
        };
        for address in serve(&world, Router::new().route("/ws", any(echo))).await {
            for _ in 0..2 {
                let mut stream = connect(
                    address,
                    "GET /ws HTTP/1.1\r\nhost: example.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                )
                .await;
                let head = read(&mut stream, |came| came.ends_with(b"\r\n\r\n")).await;
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                assert!(head.starts_with("http/1.1 101"), "{} {head}", world.name);
                assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
                assert!(head.contains("larder; fwd=bypass; detail=upgrade"), "{head}");
                // A final text frame, masked with zeros (RFC 6455, section 5.2).
                stream.write_all(b"\x81\x85\0\0\0\0hello").await.unwrap();
                let echoed = read(&mut stream, |came| came.len() >= 7).await;
                assert_eq!(echoed, b"\x81\x05hello", "{}", world.name);
            }
        }
    }
}
