//! Bodies that come slowly while others wait: the visitor gets each frame as it comes, those who wait get the page when
//! it is whole, and neither a slow visitor nor one who hangs up in the middle holds it up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use larder::CacheLayer;
use larder::page::PageBody;
use tokio::sync::oneshot;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::crowd::{answers, crowd, soon};
use crate::world::gated::until;
use crate::world::{HOME, Plain, Script, Step, ask, get, settle, worlds};

const LONG: Duration = Duration::from_secs(600);

type Infallible = std::convert::Infallible;
type Body = Pin<Box<PageBody<Script>>>;

/// A site whose handler answers with these bodies, one after the other, and then with `whole`; and how often it was asked.
fn scripted(
    layer: CacheLayer,
    scripts: impl IntoIterator<Item = Script>,
) -> (
    Arc<AtomicUsize>,
    impl Service<Plain, Response = Response<PageBody<Script>>, Error = Infallible, Future: Send> + Clone + Send + Sync,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let scripts = Arc::new(Mutex::new(scripts.into_iter().collect::<VecDeque<_>>()));
    let counted = Arc::clone(&calls);
    let site = layer.longest_wait(LONG).layer(service_fn(move |_: Plain| {
        counted.fetch_add(1, Ordering::SeqCst);
        let script = scripts.lock().unwrap().pop_front();
        let body = script.unwrap_or_else(|| Script::of_length(5, [Step::Data("whole")]));
        async move { Ok(Response::new(body)) }
    }));
    (calls, site)
}

async fn next(body: &mut Body) -> Option<String> {
    let frame = soon("a frame", body.as_mut().frame()).await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_frame_reaches_the_visitor_as_it_comes_and_all_others_get_the_whole() {
    for world in worlds() {
        let ((open_first, first), (open_second, second)) = (oneshot::channel(), oneshot::channel());
        let script = Script::of_length(
            9,
            [Step::Data("one"), Step::Wait(first), Step::Data("two"), Step::Wait(second), Step::Data("six")],
        );
        let (calls, site) = scripted(world.site(), [script]);
        let mut body: Body = Box::pin(site.clone().oneshot(get(HOME)).await.unwrap().into_body());
        let tasks = crowd(&site, 50, |_| get(HOME)).await;
        assert_eq!(next(&mut body).await.as_deref(), Some("one"), "{}", world.name);
        open_first.send(()).unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some("two"), "before there is more");
        assert!(tasks.iter().all(|task| !task.is_finished()), "{}: nobody gets half a page", world.name);
        open_second.send(()).unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some("six"));
        assert_eq!(next(&mut body).await, None);
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "onetwosix"), "{}", world.name);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_who_reads_nothing_holds_nobody_up() {
    for world in worlds() {
        let (open, gate) = oneshot::channel();
        let script = Script::of_length(6, [Step::Data("one"), Step::Wait(gate), Step::Data("two")]);
        let (calls, site) = scripted(world.site(), [script]);
        let mut body: Body = Box::pin(site.clone().oneshot(get(HOME)).await.unwrap().into_body());
        let tasks = crowd(&site, 20, |_| get(HOME)).await;
        open.send(()).unwrap();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "onetwo"), "{}", world.name);
        // And is none the worse for it, however late.
        let mut text = String::new();
        while let Some(data) = next(&mut body).await {
            text += &data;
        }
        assert_eq!((text.as_str(), calls.load(Ordering::SeqCst)), ("onetwo", 1), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_who_hangs_up_in_the_body_does_not_stop_the_fill() {
    for frames in 0..2 {
        for world in worlds() {
            let (open, gate) = oneshot::channel();
            let script = Script::of_length(6, [Step::Data("one"), Step::Wait(gate), Step::Data("two")]);
            let (calls, site) = scripted(world.site(), [script]);
            let mut body: Body = Box::pin(site.clone().oneshot(get(HOME)).await.unwrap().into_body());
            let tasks = crowd(&site, 20, |_| get(HOME)).await;
            for _ in 0..frames {
                next(&mut body).await.unwrap();
            }
            drop(body);
            settle().await;
            open.send(()).unwrap();
            assert!(answers(tasks).await.iter().all(|answer| answer.text() == "onetwo"), "{}", world.name);
            assert_eq!(calls.load(Ordering::SeqCst), 1, "{}", world.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_nobody_waits_for_ends_with_its_visitor() {
    for world in worlds() {
        let (mut open, gate) = oneshot::channel();
        let script = Script::of_length(6, [Step::Data("one"), Step::Wait(gate), Step::Data("two")]);
        let (calls, site) = scripted(world.site(), [script]);
        drop(site.clone().oneshot(get(HOME)).await.unwrap());
        soon("the body is let go of", open.closed()).await;
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), calls.load(Ordering::SeqCst)), ("whole", 2), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_option_a_body_is_read_to_its_end_for_nobody() {
    for world in worlds() {
        for coalesces in [true, false] {
            let (open, gate) = oneshot::channel();
            let script = Script::of_length(6, [Step::Data("one"), Step::Wait(gate), Step::Data("two")]);
            let layer = world.site().key_prefix(coalesces.to_string()).coalesce(coalesces).finish_fills(true);
            let pages = layer.pages();
            let (calls, site) = scripted(layer, [script]);
            drop(site.clone().oneshot(get(HOME)).await.unwrap());
            settle().await;
            open.send(()).unwrap();
            let begun = std::time::Instant::now();
            while pages.get(HOME).await.unwrap().is_none() {
                assert!(begun.elapsed() < crate::world::gated::PATIENCE, "{} {coalesces}", world.name);
            }
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.text(), calls.load(Ordering::SeqCst)), ("onetwo", 1), "{}", world.name);
        }
    }
}

/// A first body that is not stored, read by the leader and then by nobody: those who wait run alone, and get whole pages.
async fn is_not_shared(what: &str, script: impl Fn(oneshot::Receiver<()>) -> Script, expected: &str) {
    for world in worlds() {
        let (open, gate) = oneshot::channel();
        let (calls, site) = scripted(world.site().largest_body(8), [script(gate)]);
        let response = site.clone().oneshot(get(HOME)).await.unwrap();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        open.send(()).unwrap();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "whole"), "{} {what}", world.name);
        let calls = calls.load(Ordering::SeqCst);
        assert!((2..=11).contains(&calls), "{} {what}: {calls}", world.name);
        let (mut body, mut came) = (Box::pin(response.into_body()), String::new());
        while let Some(frame) = soon("a frame", body.as_mut().frame()).await {
            came += &match frame {
                Ok(frame) => {
                    frame.into_data().map_or("|trailers".into(), |data| String::from_utf8(data.to_vec()).unwrap())
                }
                Err(_) => "|error".into(),
            };
        }
        assert_eq!(came, expected, "{} {what}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_18_half_a_body_is_never_shared() {
    let wait = |gate| Step::Wait(gate);
    let fails = |gate| Script::of_length(6, [Step::Data("one"), wait(gate), Step::Fail, Step::Data("two")]);
    is_not_shared("it fails", fails, "one|errortwo").await;
    is_not_shared("it is short", |gate| Script::of_length(6, [Step::Data("one"), wait(gate)]), "one").await;
    let trailers = |gate| Script::of_length(3, [Step::Data("one"), wait(gate), Step::Trailers]);
    is_not_shared("it has trailers", trailers, "one|trailers").await;
    let long = |gate| Script::of_length(6, [Step::Data("one"), wait(gate), Step::Data("two"), Step::Data("six")]);
    is_not_shared("it is longer than it said", long, "onetwosix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_beyond_the_limit_goes_by_at_the_visitors_speed() {
    for world in worlds() {
        let ((open_first, first), (mut open_second, second)) = (oneshot::channel(), oneshot::channel());
        let script = Script::stream([
            Step::Data("one"),
            Step::Wait(first),
            Step::Data("a long piece"),
            Step::Wait(second),
            Step::Data("the end"),
        ]);
        let (calls, site) = scripted(world.site().store_streams(true).largest_body(8), [script]);
        let mut body: Body = Box::pin(site.clone().oneshot(get(HOME)).await.unwrap().into_body());
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        open_first.send(()).unwrap();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "whole"), "{}", world.name);
        assert_eq!(next(&mut body).await.as_deref(), Some("one"));
        assert_eq!(next(&mut body).await.as_deref(), Some("a long piece"));
        // From here on the visitor reads it himself: it ends with him.
        drop(body);
        soon("the body is let go of", open_second.closed()).await;
        assert!(calls.load(Ordering::SeqCst) >= 2, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_18_a_body_that_panics_is_the_visitors_and_nobody_hangs() {
    for world in worlds() {
        let (open, gate) = oneshot::channel();
        let (calls, site) =
            scripted(world.site(), [Script::of_length(6, [Step::Data("one"), Step::Wait(gate), Step::Panic])]);
        let response = site.clone().oneshot(get(HOME)).await.unwrap();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        open.send(()).unwrap();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "whole"), "{}", world.name);
        let read = tokio::spawn(response.into_body().collect());
        assert!(soon("the visitor", read).await.unwrap_err().is_panic(), "{}", world.name);
        until(async || calls.load(Ordering::SeqCst) >= 2, "all have run").await;
    }
}
