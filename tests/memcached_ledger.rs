//! The interleavings of a memcached connection, explored by shuttle: the very ledger that the client uses, on locks that
//! shuttle schedules, with callers that come, wait, crowd and go away, and a connection that answers, breaks or ends.
#![allow(missing_docs)]

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex as PlainMutex};
use std::task::Poll;

use ledger::{Ledger, Lost, Owed, Refused, Taken, Trade};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};

#[allow(dead_code, reason = "the client uses all of it")]
#[path = "../src/memcached/connection/ledger.rs"]
mod ledger;

/// What the ledger is built on here.
mod sync {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

/// Questions and answers that carry the number of their caller.
struct Numbers;

impl Trade for Numbers {
    type Queue = Vec<(u32, u64)>;
    type Asked = u64;
    type Reply = u64;
    type Error = &'static str;

    // So few that callers must wait for room.
    const MOST_OWED: usize = 2;
    const MOST_QUEUED: usize = 16;

    fn length(queue: &Self::Queue) -> usize {
        queue.len() * 8
    }
}

const BROKEN: &str = "broken";

/// What reached the other side.
type Seen = Arc<PlainMutex<HashSet<u64>>>;

/// How the connection of one exploration ends.
#[derive(Clone, Copy)]
enum Course {
    /// It serves to the end.
    Serves,
    /// It may break at any moment.
    Breaks,
}

/// The connection's task, in miniature: takes, sends a part, pays a part.
async fn serve(ledger: Arc<Ledger<Numbers>>, course: Course, seen: Seen) {
    let (mut queue, mut owed, mut paid) = (Vec::new(), VecDeque::<Owed<Numbers>>::new(), 0);
    let (mut on_the_way, mut written) = (VecDeque::new(), 0u64);
    loop {
        if matches!(course, Course::Breaks) && thread_rng().gen_ratio(1, 6) {
            ledger.close(Some(&BROKEN));
            for lost in owed.drain(..) {
                let was_sent = lost.begins_at < written;
                lost.lose(Some(BROKEN), was_sent);
            }
            return;
        }
        if queue.is_empty() {
            let must_wait = owed.is_empty();
            let taken = poll_fn(|context| match ledger.take(paid, &mut queue, &mut owed, context.waker()) {
                Taken::Nothing if must_wait => {
                    paid = 0;
                    Poll::Pending
                }
                taken => Poll::Ready(taken),
            })
            .await;
            paid = 0;
            if taken == Taken::Finished && owed.is_empty() {
                return;
            }
        }
        yield_now().await;
        let sent = if queue.is_empty() { 0 } else { thread_rng().gen_range(1..=queue.len()) };
        for (token, question) in queue.drain(..sent) {
            seen.lock().unwrap().insert(question);
            written += 8;
            on_the_way.push_back((token, question));
        }
        yield_now().await;
        let answered = if on_the_way.is_empty() { 0 } else { thread_rng().gen_range(0..=on_the_way.len()) };
        for (token, question) in on_the_way.drain(..answered) {
            let first = owed.pop_front().expect("an answer is owed to somebody");
            assert_eq!((first.token, first.asked), (token, question), "paid to whom it is owed");
            first.pay(question * 10);
            paid += 1;
        }
    }
}

/// A caller with some questions, who may go away before the answer is there.
async fn call(ledger: Arc<Ledger<Numbers>>, course: Course, caller: u64, seen: Seen) {
    for number in 1..=2 {
        let question = caller * 100 + number;
        let write = |token: u32, queue: &mut Vec<(u32, u64)>| {
            queue.push((token, question));
            question
        };
        let slip = match ledger.enter_in_time(write).await {
            Ok(slip) => slip,
            Err(refused) => {
                assert!(matches!((refused, course), (Refused::Closed, Course::Breaks)));
                assert!(!seen.lock().unwrap().contains(&question));
                return;
            }
        };
        if thread_rng().gen_ratio(1, 4) {
            yield_now().await;
            drop(slip);
            continue;
        }
        match slip.await.expect("every slip is paid or lost") {
            Ok(answer) => assert_eq!(answer, question * 10, "the answer to another question"),
            Err(Lost { error, was_sent }) => {
                assert!(matches!(course, Course::Breaks) && error == Some(BROKEN));
                assert!(was_sent || !seen.lock().unwrap().contains(&question), "it was sent after all");
            }
        }
    }
}

/// Callers and one connection; ends when all of them have, or is a deadlock that shuttle reports.
fn explore(course: Course) {
    block_on(async move {
        let (ledger, seen) = (Arc::new(Ledger::new()), Seen::default());
        let serving = spawn(serve(Arc::clone(&ledger), course, Arc::clone(&seen)));
        let calls: Vec<_> =
            (1..=3).map(|caller| spawn(call(Arc::clone(&ledger), course, caller, Arc::clone(&seen)))).collect();
        for call in calls {
            call.await.unwrap();
        }
        if matches!(course, Course::Serves) {
            assert!(ledger.error().is_none());
        }
        ledger.finish();
        serving.await.unwrap();
        assert!(ledger.enter(|_, _| 0).is_err());
    });
}

#[test]
fn everybody_gets_their_own_answer_and_nobody_waits_for_ever() {
    shuttle::check_random(|| explore(Course::Serves), 1_000);
    shuttle::check_pct(|| explore(Course::Serves), 500, 3);
}

#[test]
fn a_connection_that_breaks_tells_everybody_and_knows_what_was_sent() {
    shuttle::check_random(|| explore(Course::Breaks), 1_000);
    shuttle::check_pct(|| explore(Course::Breaks), 500, 3);
}

/// Callers who are told to stop while others enter: what was entered is answered, what was refused was never sent.
#[test]
fn an_end_in_peace_leaves_nothing_unanswered() {
    let explore = || {
        block_on(async {
            let (ledger, seen) = (Arc::new(Ledger::<Numbers>::new()), Seen::default());
            let serving = spawn(serve(Arc::clone(&ledger), Course::Serves, Arc::clone(&seen)));
            let calls: Vec<_> = (1..=3u64)
                .map(|question| {
                    let (ledger, seen) = (Arc::clone(&ledger), Arc::clone(&seen));
                    spawn(async move {
                        let write = |token: u32, queue: &mut Vec<(u32, u64)>| {
                            queue.push((token, question));
                            question
                        };
                        match ledger.enter_in_time(write).await {
                            Ok(slip) => assert_eq!(slip.await.unwrap().unwrap(), question * 10),
                            Err(_) => assert!(!seen.lock().unwrap().contains(&question)),
                        }
                    })
                })
                .collect();
            yield_now().await;
            ledger.finish();
            for call in calls {
                call.await.unwrap();
            }
            serving.await.unwrap();
        });
    };
    shuttle::check_random(explore, 1_500);
}
