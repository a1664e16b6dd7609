//! The visitors of the chaos: they ask, hang up, and check to the last byte that what they get is theirs.
//! `tests/chaos.rs` lets 64 of them loose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use larder::CacheService;
use tower::ServiceExt;

use super::identity::Identity;
use super::ledger::{Ledger, URLS, raise};
use super::origin::{IDENTITY, Origin, REQUEST, VISITOR, is_panic_of_the_handler};
use crate::real::Dice;

/// Longer than anybody may be made to wait: the layer's own bound is 5 s.
const PATIENCE: Duration = Duration::from_secs(40);
/// How many different visitors there are; each has several requests under way.
const VISITORS: u64 = 6;

pub type Door = CacheService<Origin>;

pub fn url(number: u64) -> String {
    format!("http://chaos.example/page/{number}")
}

/// Asks until the end, of every door in its turn.
pub async fn visit(doors: Arc<Vec<Door>>, ledger: Arc<Ledger>, dice: Arc<Dice>, next: Arc<AtomicU64>, end: Instant) {
    let mut known: Option<Known> = None;
    while Instant::now() < end && !ledger.has_violations() {
        // Half of all ask for the same few pages.
        let most = if dice.percent(50) { 4 } else { URLS };
        let mut question = Question {
            url: dice.within(0..most),
            visitor: dice.within(0..VISITORS),
            request: next.fetch_add(1, SeqCst),
            method: if dice.percent(10) { Method::HEAD } else { Method::GET },
            authorization: dice.percent(4),
            known: None,
            least: 0,
        };
        if let Some(known) = known.take_if(|_| dice.percent(30)) {
            (question.url, question.visitor) = (known.url, known.visitor);
            question.known = Some(known);
        }
        // From here on no page is right that a purge which is complete by now should have made unseen.
        question.least = ledger.least(question.url);
        let door = doors[dice.within(0..doors.len() as u64) as usize].clone();
        let patience = match dice.percent(12) {
            true => Duration::from_micros(dice.within(0..15_000)),
            false => PATIENCE,
        };
        raise(&ledger.count.asked);
        // In a task of its own, as a server does: a panic of the handler ends it, and so does a visitor who hangs up.
        let leaves_after_the_head = dice.percent(3);
        let mut task = tokio::spawn(ask(door, question.clone(), Arc::clone(&ledger), leaves_after_the_head));
        match tokio::time::timeout(patience, &mut task).await {
            Ok(Ok(now_known)) => known = now_known.or(known),
            Ok(Err(error)) => {
                let panic = error.into_panic();
                let is_chaos = is_panic_of_the_handler(&*panic);
                if !is_chaos {
                    ledger.violation(format!("{question:?}: a panic that is not the handler's"));
                }
            }
            Err(_) if patience == PATIENCE => ledger.violation(format!("{question:?}: no answer in {PATIENCE:?}")),
            Err(_) => {
                task.abort();
                raise(&ledger.count.cancelled);
            }
        }
    }
}

/// One visitor asks for one page through one door and stays to the end.
pub async fn ask_calmly(doors: &[Door], ledger: &Arc<Ledger>, dice: &Dice, next: &AtomicU64, url: u64) {
    let question = Question {
        url,
        visitor: dice.within(0..VISITORS),
        request: next.fetch_add(1, SeqCst),
        method: Method::GET,
        authorization: false,
        known: None,
        least: ledger.least(url),
    };
    let door = doors[dice.within(0..doors.len() as u64) as usize].clone();
    let task = tokio::spawn(ask(door, question.clone(), Arc::clone(ledger), false));
    if tokio::time::timeout(PATIENCE, task).await.is_err() {
        ledger.violation(format!("{question:?}: no answer in {PATIENCE:?}"));
    }
}

/// One request.
#[derive(Clone, Debug)]
struct Question {
    url: u64,
    visitor: u64,
    request: u64,
    method: Method,
    authorization: bool,
    known: Option<Known>,
    /// The oldest version that is right.
    least: u64,
}

/// A page that this visitor has already, with its tag.
#[derive(Clone, Debug)]
struct Known {
    url: u64,
    visitor: u64,
    identity: Identity,
    etag: String,
}

impl Question {
    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(url(self.url))
            .header(VISITOR, self.visitor)
            .header(REQUEST, self.request)
            .header("accept-encoding", "gzip");
        if self.authorization {
            request = request.header("authorization", "Basic c2VjcmV0");
        }
        if let Some(known) = &self.known {
            request = request.header("if-none-match", &known.etag);
        }
        request.body(Empty::new()).unwrap()
    }

    /// What is wrong with a page for this question.
    fn is_answered_by(&self, page: &Identity, status: StatusCode) -> Result<(), String> {
        let is_mine = page.request == self.request;
        if page.url != self.url {
            return Err("the page of another URL".into());
        }
        if page.visitor.is_some_and(|visitor| visitor != self.visitor) {
            return Err("another visitor's page".into());
        }
        if page.is_private && !is_mine {
            return Err("a page that was for one request only".into());
        }
        if self.authorization && !is_mine {
            return Err("a stored page for a request with Authorization, which nothing allowed".into());
        }
        if page.version < self.least {
            return Err(format!("a page from before a purge that was complete: at least {} is right", self.least));
        }
        if status != StatusCode::OK && !is_mine {
            return Err("somebody else's failure".into());
        }
        Ok(())
    }
}

/// Asks one question and checks the answer. Gives a page that can be asked for again with its tag.
async fn ask(door: Door, question: Question, ledger: Arc<Ledger>, leaves_after_the_head: bool) -> Option<Known> {
    let response = match door.oneshot(question.request()).await {
        Ok(response) => response,
        Err(_) => {
            raise(&ledger.count.failed);
            return None;
        }
    };
    match check(&question, response, &ledger, leaves_after_the_head).await {
        Ok(known) => known,
        Err((what, headers)) => {
            ledger.violation(format!("{what}: {question:?} got {headers:?}"));
            None
        }
    }
}

async fn check<B>(
    question: &Question,
    response: Response<B>,
    ledger: &Ledger,
    leaves_after_the_head: bool,
) -> Result<Option<Known>, (String, HeaderMap)>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let wrong = |what: String| (what, parts.headers.clone());
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if header("age").is_some() {
        raise(&ledger.count.hits);
    }
    if header("cache-status").is_some_and(|status| status.contains("stale")) {
        raise(&ledger.count.stale);
    }
    let etag = header("etag").map(str::to_owned);

    if parts.status == StatusCode::NOT_MODIFIED {
        let Some(known) = &question.known else { return Err(wrong("a 304 that nobody asked for".into())) };
        if etag.as_ref() != Some(&known.etag) {
            return Err(wrong("a 304 for another tag".into()));
        }
        question.is_answered_by(&known.identity, StatusCode::OK).map_err(|what| wrong(format!("304: {what}")))?;
        raise(&ledger.count.not_modified);
        return Ok(None);
    }

    let Some(head) = header(IDENTITY).and_then(Identity::of_line) else {
        return Err(wrong("a head without its identity".into()));
    };
    question.is_answered_by(&head, parts.status).map_err(&wrong)?;
    if etag.as_ref().is_some_and(|etag| *etag != head.etag()) {
        return Err(wrong("the tag of another page".into()));
    }
    let length: Option<usize> = header("content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length != head.body().len()) {
        return Err(wrong("a wrong Content-Length".into()));
    }
    if question.method == Method::HEAD {
        return Ok(None);
    }
    if leaves_after_the_head {
        raise(&ledger.count.cancelled);
        return Ok(None);
    }
    let claimed = body.size_hint().exact();
    let body = body.collect().await.ok().map(|body| body.to_bytes());
    match body {
        Some(body) if Identity::of_body(&body).as_ref() == Some(&head) => {}
        // Broken off so that the visitor can tell; but only who had the handler run may meet that.
        Some(body) if length.map(|length| length as u64).or(claimed).is_none_or(|told| told == body.len() as u64) => {
            let start = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            return Err(wrong(format!("a body of {} bytes that is not its head's: {start:?}", body.len())));
        }
        _ if head.request != question.request => return Err(wrong("half a page from the cache".into())),
        _ => {
            raise(&ledger.count.broken_bodies);
            return Ok(None);
        }
    }
    let is_known = parts.status == StatusCode::OK && !head.is_private;
    let Question { url, visitor, .. } = *question;
    Ok(etag.filter(|_| is_known).map(|etag| Known { url, visitor, identity: head, etag }))
}
