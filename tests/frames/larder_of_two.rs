//! Two stored pages in a store that can be tampered with, and the question what is answered afterwards.
//! `tests/frames.rs` and the fuzz target `frame` include it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{Empty, Full};
use larder::backend::{Stored, flags};
use larder::{Cache, CacheLayer, ManualClock, PageUrl, Pages, Timestamp};
use tower::{Layer, ServiceExt, service_fn};

use super::texts::Texts;

/// What a visitor would see of a page.
pub type Seen = (HeaderMap, Bytes);

/// Two pages, each in English and Japanese, as a layer stored them.
pub struct LarderOfTwo {
    pub texts: Texts,
    pages: Pages,
    /// What each question is answered with when nothing was tampered with.
    pub true_pages: Vec<Seen>,
    /// The frames, under their final keys.
    pub frames: Vec<(String, Stored)>,
    /// The lists of what each URL varies on, under their final keys.
    pub lists: Vec<(String, Stored)>,
}

/// The questions: URL and language.
pub const QUESTIONS: [(&str, &str); 4] = [
    ("http://example.com/one", "en"),
    ("http://example.com/one", "ja"),
    ("http://example.com/two", "en"),
    ("http://example.com/two", "ja"),
];

impl LarderOfTwo {
    pub async fn new() -> Self {
        let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        let texts = Texts::with_clock(hands.clock());
        // A layer that tells what became of a page waits for the store.
        let layer = CacheLayer::per_site().cache(&Cache::new(texts.clone())).cache_status("larder");
        let pages = layer.pages();
        let service = layer.layer(service_fn(handler));
        for (url, language) in QUESTIONS {
            let request = Request::get(url).header(header::ACCEPT_LANGUAGE, language).body(Empty::<Bytes>::new());
            let Ok(_response) = service.clone().oneshot(request.expect("a request")).await;
        }
        let (frames, lists) = (texts.with_flags(flags::PAGE), texts.with_flags(flags::HEADER_LISTS));
        let mut larder = LarderOfTwo { texts, pages, true_pages: Vec::new(), frames, lists };
        for question in 0..QUESTIONS.len() {
            let seen = larder.ask(question).await.expect("what was stored is there");
            larder.true_pages.push(seen);
        }
        larder
    }

    /// What a visitor with this question is answered from the store; `None` is a miss.
    pub async fn ask(&self, question: usize) -> Option<Seen> {
        let (url, language) = QUESTIONS[question];
        let page = PageUrl::new(url).header(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
        let stored = self.pages.get(page).await.expect("bytes that make no sense are a miss, not an error")?;
        Some((stored.headers, stored.body))
    }

    /// Puts everything back as it was.
    pub fn restore(&self) {
        for (key, stored) in self.frames.iter().chain(&self.lists) {
            self.texts.put(key, stored.clone());
        }
    }
}

async fn handler(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let language = request.headers()[header::ACCEPT_LANGUAGE].clone();
    let body = format!("{} in {}", request.uri(), language.to_str().expect("a language is ASCII"));
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    response.headers_mut().insert(header::CONTENT_LANGUAGE, language);
    response.headers_mut().insert("x-unusual", HeaderValue::from_static("a header that has no short form"));
    Ok(response)
}
