//! Runs `middleware.json`: sequences of requests through stacks of our layers, on a store in memory and on one with textual
//! keys, as Django 5.2 and as Django 6.1. Where we differ, `django_cache.rs` says under which departures it would, too.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use http::header::{AGE, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, SET_COOKIE, VARY};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use larder::backend::Memory;
use larder::cache::Version;
use larder::{Cache, CacheLayer, Caches, KeyScheme, ManualClock, PageUrl, Pages, Timestamp};
use serde_json::Value;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt, service_fn};

use crate::conditional::model::{Departing, with_our_tag_of};
use crate::django_cache::{DjangoCache, switches};
use crate::harness::{AS_DJANGO_6_1, Case, Departures, Judged, Summary, run};
use crate::keys::NOT_HTTP;
use crate::raw_request::{header_value, language, locate, request, text, time_zone};
use crate::stack::{self, DjangoRequest, Failure, Layer, Place, Server, build, plan, server};
use crate::text_backend::TextBackend;
use crate::view::View;

/// Django drops entries by their number, we by their bytes (MID-35).
const BOUNDED_BY_BYTES: &str = "bounded-by-bytes";

pub fn middleware(departures: &Departures) -> Summary {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    run("middleware", departures, |case| runtime.block_on(judge(case)))
}

/// Which store keeps the pages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Store {
    Text,
    Memory,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    from_cache: bool,
    seen: Result<Seen, String>,
    /// Alias, key and seconds left of what is alive; only where keys are text.
    keys: Option<Vec<(String, String, f64)>>,
    /// What each cache layer would now give to a GET like the step's request, `Age` apart. Empty where Django stores what
    /// layers outside of ours add, or where the layer takes no such request.
    stored: Vec<Option<Seen>>,
}

/// A response as a visitor sees it. Names in lower case, sorted; values as Latin-1.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: u64,
    headers: Vec<(String, String)>,
    set_cookie: Vec<String>,
    body: String,
}

async fn judge(case: &Case) -> Judged {
    let steps = case.value["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.iter().any(|step| request(&step["request"]).is_err()) {
        return Judged::OutOfScope(NOT_HTTP);
    }
    let newer = case.value["steps_expected_6_1"].as_array();
    let expected_5_2: Vec<&Value> = steps.iter().map(|step| &step["expected"]).collect();
    let expected_6_1: Vec<&Value> = newer.map_or(expected_5_2.clone(), |newer| newer.iter().collect());

    let mut departure: Option<(String, String, &'static str)> = None;
    for (scheme, expected) in [(KeyScheme::Django61, &expected_6_1), (KeyScheme::Django52, &expected_5_2)] {
        for store in [Store::Text, Store::Memory] {
            let scene = Scene::new(case, scheme, store);
            let ours = scene.run(None).await;
            let Some((wanted, got)) = first_difference(steps, &scene.expected(expected).await, &ours) else { continue };
            let got = format!("{scheme:?} {store:?} {got}");
            let name = match explain(case, scheme, store, &ours, &expected_6_1).await {
                Ok(name) => name,
                Err(why) => return Judged::Differs { expected: wanted, got: format!("{got} ({why})"), ours: None },
            };
            // That a case is as in 6.1 says less than the departure it shows there, too.
            if departure.as_ref().is_none_or(|(.., known)| *known == AS_DJANGO_6_1) {
                departure = Some((wanted, got, name));
            }
        }
    }
    match departure {
        None => Judged::Same,
        Some((expected, got, name)) => Judged::Differs { expected, got, ours: Some(name) },
    }
}

/// The departure that makes our answers of Django's. With all of them the model has to answer exactly as we do, with none
/// of them exactly as Django does.
async fn explain(
    case: &Case,
    scheme: KeyScheme,
    store: Store,
    ours: &[Answer],
    expected_6_1: &[&Value],
) -> Result<&'static str, String> {
    let steps = case.value["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let caches = case.value["settings"]["caches"].as_object();
    let culls = caches.into_iter().flatten().any(|(_, cache)| !cache["max_entries"].is_null());

    let scene = Scene::new(case, KeyScheme::Django61, Store::Text);
    let (django, model) = (scene.expected(expected_6_1).await, scene.run(Some(&[])).await);
    let (django, model) = (with_sorted_vary(django), with_sorted_vary(model));
    if !culls && let Some((wanted, got)) = first_difference(steps, &django, &model) {
        return Err(format!("and the model is not Django: {got} instead of {wanted}"));
    }
    let with = async |switches: &[&'static str]| Scene::new(case, scheme, store).run(Some(switches)).await;
    let switches = switches();
    let promised = with(&switches).await;
    if let Some((wanted, got)) = first_difference(steps, &promised, ours) {
        return Err(format!("which no departure promises: {got}, where all of them together promise {wanted}"));
    }
    for one in switches.iter().copied() {
        let others: Vec<&'static str> = switches.iter().copied().filter(|other| *other != one).collect();
        if first_difference(steps, &promised, &with(&others).await).is_some() {
            return Ok(one);
        }
    }
    // Two that are about the same response: each alone is enough.
    let without = with(&[]).await;
    for one in switches {
        if first_difference(steps, &without, &with(&[one]).await).is_some() {
            return Ok(one);
        }
    }
    if culls { Ok(BOUNDED_BY_BYTES) } else { Ok(AS_DJANGO_6_1) }
}

/// One layer in the place of Django's two halves adds to Vary before or after others do; the order says nothing.
fn with_sorted_vary(mut answers: Vec<Answer>) -> Vec<Answer> {
    let seen = answers.iter_mut().filter_map(|answer| answer.seen.as_mut().ok());
    for (_, value) in seen.flat_map(|seen| &mut seen.headers).filter(|(name, _)| name == VARY.as_str()) {
        let mut names: Vec<&str> = value.split(", ").collect();
        names.sort_unstable();
        *value = names.join(", ");
    }
    answers
}

/// What the steps of a case share.
struct Scene<'a> {
    case: &'a Value,
    scheme: KeyScheme,
    store: Store,
    hands: ManualClock,
    caches: Caches,
    texts: BTreeMap<String, TextBackend>,
    plan: Vec<Layer>,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case, scheme: KeyScheme, store: Store) -> Self {
        let case = &case.value;
        let hands = ManualClock::at(moment(&case["t0"]));
        let mut caches = Caches::builder();
        let mut texts = BTreeMap::new();
        for (alias, settings) in case["settings"]["caches"].as_object().into_iter().flatten() {
            let builder = match store {
                Store::Memory => Cache::builder(Memory::with_clock(hands.clock())),
                Store::Text => {
                    let backend = TextBackend::new(hands.clock());
                    texts.insert(alias.clone(), backend.clone());
                    Cache::builder(backend)
                }
            };
            let version = settings["version"].as_i64().map_or_else(Version::default, Version::from);
            let cache = builder.key_prefix(text(&settings["key_prefix"])).version(version).build();
            caches = caches.with(alias, cache);
        }
        let plan = plan(&case["settings"], &case["stack"]);
        Scene { case, scheme, store, hands, caches: caches.build(), texts, plan }
    }

    /// The answers of our layers, or of Django with some departures.
    async fn run(&self, departures: Option<&[&'static str]>) -> Vec<Answer> {
        let exact = self.scheme == KeyScheme::Django52;
        let uses_languages = self.case["settings"]["use_i18n"] == true;
        let django = departures.map(|departures| {
            DjangoCache::new(departures, &self.hands.clock(), uses_languages, exact, self.store == Store::Memory)
        });
        let has_our_tags = departures.is_none_or(|departures| departures.contains(&Departing::FastHash.name()));
        let mut answers = Vec::new();
        for step in self.case["steps"].as_array().into_iter().flatten() {
            let step = &if has_our_tags { self.with_our_tags(step) } else { step.clone() };
            self.hands.advance(moment(&step["advance"]).since(Timestamp::from_secs(0)));
            let mut answer = self.step(step, django.as_ref()).await;
            if self.store == Store::Text {
                let mut keys = django.as_ref().map_or_else(|| self.live(), DjangoCache::live);
                keys.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
                answer.keys = Some(keys);
            }
            answer.stored = match &django {
                Some(django) => self.stored_by_django(step, django).await,
                None => self.stored(step).await,
            };
            answers.push(answer);
        }
        answers
    }

    /// The step of a client that got our tags of the views' bodies where Django's got Django's.
    fn with_our_tags(&self, step: &Value) -> Value {
        let mut step = step.clone();
        for line in step["request"]["headers"].as_array_mut().into_iter().flatten() {
            for other in self.case["steps"].as_array().into_iter().flatten() {
                line[1] = with_our_tag_of(text(&other["view"]["body"]), text(&line[1])).into();
            }
        }
        step
    }

    /// The answers of the real Django.
    async fn expected(&self, expected: &[&Value]) -> Vec<Answer> {
        let steps = self.case["steps"].as_array().into_iter().flatten();
        let answer = |(step, expected): (&Value, &&Value)| {
            let keys = (self.store == Store::Text).then(|| keys_in_django(expected));
            let seen = match expected["error"].as_str() {
                Some(class) => Err(class.to_owned()),
                None => Ok(seen_by_django(expected)),
            };
            Answer {
                from_cache: expected["from_cache"] == true,
                seen,
                keys,
                stored: self.stored_in_django(step, expected),
            }
        };
        steps.zip(expected).map(answer).collect()
    }

    async fn step(&self, step: &Value, django: Option<&DjangoCache>) -> Answer {
        let settings = &self.case["settings"];
        let view = View::new(&step["view"], &self.hands.clock());
        let stack = build(&self.plan, view.server(), settings, &self.hands.clock(), django, |place, inner| {
            self.cached(step, place, inner, django)
        });
        let request = self.request(step);
        let response = stack.oneshot(request).await;
        let from_cache = !view.was_called() && response.is_ok();
        let seen = match response {
            Ok(response) => Ok(see(response).await),
            Err(Failure(class)) => Err(class),
        };
        Answer { from_cache, seen, keys: None, stored: Vec::new() }
    }

    fn request(&self, step: &Value) -> Request<Body> {
        let settings = &self.case["settings"];
        let mut request = request(&step["request"]).unwrap_or_else(|error| panic!("{error}")).map(|()| Body::empty());
        let active = &step["active"];
        if active.get("language").is_some() || active.get("request_language_code").is_some() {
            request.extensions_mut().extend(language(settings, active).map(extension).unwrap_or_default());
        }
        if active.get("timezone").is_some() {
            request.extensions_mut().extend(time_zone(settings, active).map(extension).unwrap_or_default());
        }
        request.extensions_mut().insert(DjangoRequest::default());
        request
    }

    /// Our layer at a place. What is active where nothing was activated is the layer's default.
    fn layer(&self, step: &Value, place: &Place) -> CacheLayer {
        let settings = &self.case["settings"];
        let cache = self.caches.get(&place.alias).unwrap_or_else(|error| panic!("{error}"));
        // One visitor at a time comes, and the store is looked at behind each: with nobody to wait for, a page is stored before
        // its response is answered.
        let layer = CacheLayer::per_site().coalesce(false).cache(&cache).key_scheme(self.scheme);
        let layer = layer.key_prefix(place.prefix.as_str());
        let mut layer = locate(stack::with_timeouts(layer, place), settings, &step["request"]);
        if let Some(language) = language(settings, &Value::Null) {
            layer = layer.language(language.as_str());
        }
        if let Some(zone) = time_zone(settings, &Value::Null) {
            layer = layer.time_zone(zone.as_str());
        }
        layer
    }

    fn cached(&self, step: &Value, place: &Place, inner: Server, django: Option<&DjangoCache>) -> Server {
        if self.caches.get(&place.alias).is_err() {
            return without_cache(inner);
        }
        let layer = self.layer(step, place);
        match django {
            None => server(layer.layer(inner)),
            Some(django) => {
                let cache = self.caches.get(&place.alias).unwrap_or_else(|error| panic!("{error}"));
                django.around(inner, place, cache, layer.pages())
            }
        }
    }

    /// What is stored but for the stamps and counters of purges, which Django has not.
    fn live(&self) -> Vec<(String, String, f64)> {
        let of_alias = |(alias, backend): (&String, &TextBackend)| {
            let live = backend.live().into_iter().filter(|(key, _)| !key.contains(":larder."));
            live.map(|(key, ttl)| (alias.clone(), key, ttl)).collect::<Vec<_>>()
        };
        self.texts.iter().flat_map(of_alias).collect()
    }

    /// The places whose stored pages can be compared, and a GET like the step's request. Credentials are left out: whether
    /// they may see a page is not a question of what is stored.
    fn places(&self, step: &Value) -> Vec<(&Place, Cache, Pages, Request<()>)> {
        let has_locale = self.plan.iter().any(|layer| matches!(layer, Layer::Locale));
        let places = self.plan.iter().filter_map(|layer| match layer {
            Layer::Cache(place) if !place.is_inside_others && !has_locale => Some(place),
            _ => None,
        });
        let places = places.filter_map(|place| {
            let cache = self.caches.get(&place.alias).ok()?;
            let mut request = self.request(step).map(|_| ());
            *request.method_mut() = Method::GET;
            request.headers_mut().remove(AUTHORIZATION);
            let pages = self.layer(step, place).pages();
            pages.keys(&request, &HeaderMap::new()).ok()?;
            Some((place, cache, pages, request))
        });
        places.collect()
    }

    async fn stored(&self, step: &Value) -> Vec<Option<Seen>> {
        let mut stored = Vec::new();
        for (_, _, pages, request) in self.places(step) {
            let page = pages.get(PageUrl::of(&request)).await.unwrap_or_else(|error| panic!("{error}"));
            stored.push(match page {
                Some(page) => {
                    let mut response = Response::new(Body::from(page.body));
                    *response.status_mut() = page.status;
                    *response.headers_mut() = page.headers;
                    Some(without_age(see(response).await))
                }
                None => None,
            });
        }
        stored
    }

    async fn stored_by_django(&self, step: &Value, django: &DjangoCache) -> Vec<Option<Seen>> {
        let mut stored = Vec::new();
        for (place, cache, pages, request) in self.places(step) {
            stored.push(match django.stored(&request, place, cache, pages) {
                Some(response) => Some(without_age(see(response).await)),
                None => None,
            });
        }
        stored
    }

    /// What is in the real Django's cache: the page that the header list there leads to.
    fn stored_in_django(&self, step: &Value, expected: &Value) -> Vec<Option<Seen>> {
        let places = self.places(step);
        let find = |(place, cache, pages, request): &(&Place, Cache, Pages, Request<()>)| {
            let live: Vec<&Value> = live_in_django(expected).filter(|entry| entry["alias"] == *place.alias).collect();
            let bare = pages.keys(request, &HeaderMap::new()).ok()?;
            let list = live.iter().find(|entry| entry["key"] == *cache.make_key(&bare.header))?;
            let own = live.iter().find(|entry| {
                let mut headers = HeaderMap::new();
                let lines = entry["response"]["headers"].as_array().into_iter().flatten();
                for line in lines.filter(|line| text(&line[0]).eq_ignore_ascii_case("vary")) {
                    headers.extend(header_value(text(&line[1])).ok().map(|vary| (VARY, vary)));
                }
                pages.keys(request, &headers).is_ok_and(|keys| {
                    entry["key"] == *cache.make_key(&keys.get)
                        && list["headerlist"].as_array().is_some_and(|names| names.iter().eq(keys.header_names.iter()))
                })
            });
            // Under another list a page can have the same key, since the names are not in it (PGK-9).
            let by_list = || {
                let names = list["headerlist"].as_array().into_iter().flatten();
                let names = names.map(|name| text(name).trim_start_matches("HTTP_").replace('_', "-"));
                let vary = header_value(&names.collect::<Vec<_>>().join(",")).ok()?;
                let keys = pages.keys(request, &HeaderMap::from_iter([(VARY, vary)])).ok()?;
                live.iter().find(|entry| entry["key"] == *cache.make_key(&keys.get))
            };
            let page = own.or_else(by_list)?;
            Some(without_age(seen_by_django(&page["response"])))
        };
        places.iter().map(find).collect()
    }
}

/// Stands for a layer whose cache there is not: Django says so when it first looks for a page (VIEW-1), `Caches::get` when
/// the layer is made.
fn without_cache(inner: Server) -> Server {
    BoxCloneService::new(service_fn(move |request: Request<Body>| {
        let looks = [Method::GET, Method::HEAD].contains(request.method());
        let answering = inner.clone().oneshot(request);
        async move { if looks { Err(Failure("InvalidCacheBackendError".to_owned())) } else { answering.await } }
    }))
}

fn extension<T: Clone + Send + Sync + 'static>(value: T) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(value);
    extensions
}

fn moment(seconds: &Value) -> Timestamp {
    let since_epoch = Duration::try_from_secs_f64(seconds.as_f64().unwrap_or_default()).unwrap_or_default();
    Timestamp::from_secs(0).after(since_epoch)
}

async fn see(response: Response<Body>) -> Seen {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let latin_1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let lines = |is_cookie: bool| parts.headers.iter().filter(move |(name, _)| (*name == SET_COOKIE) == is_cookie);
    let mut headers: Vec<(String, String)> =
        lines(false).map(|(name, value)| (name.to_string(), latin_1(value.as_bytes()))).collect();
    headers.sort();
    Seen {
        status: u64::from(parts.status.as_u16()),
        headers,
        set_cookie: lines(true).map(|(_, value)| latin_1(value.as_bytes())).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

fn seen_by_django(expected: &Value) -> Seen {
    let lines = expected["headers"].as_array().into_iter().flatten();
    let mut headers: Vec<(String, String)> =
        lines.map(|line| (text(&line[0]).to_lowercase(), text(&line[1]).to_owned())).collect();
    headers.sort();
    let cookies = expected["set_cookie"].as_array().into_iter().flatten();
    Seen {
        status: expected["status"].as_u64().unwrap_or_default(),
        headers,
        set_cookie: cookies.map(|line| text(line).to_owned()).collect(),
        body: text(&expected["body"]).to_owned(),
    }
}

fn without_age(mut seen: Seen) -> Seen {
    seen.headers.retain(|(name, _)| name != AGE.as_str() && name != CONTENT_LENGTH.as_str());
    seen
}

fn live_in_django(expected: &Value) -> impl Iterator<Item = &Value> {
    let entries = expected["cache"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["ttl"].as_f64().is_none_or(|ttl| ttl > 0.0))
}

fn keys_in_django(expected: &Value) -> Vec<(String, String, f64)> {
    let key = |entry: &Value| {
        let ttl = entry["ttl"].as_f64().unwrap_or(f64::INFINITY);
        (text(&entry["alias"]).to_owned(), text(&entry["key"]).to_owned(), ttl)
    };
    let mut keys: Vec<(String, String, f64)> = live_in_django(expected).map(key).collect();
    keys.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    keys
}

/// The first step whose answers differ: what was expected, and what came.
fn first_difference(steps: &[Value], expected: &[Answer], answers: &[Answer]) -> Option<(String, String)> {
    let pairs = steps.iter().zip(expected.iter().zip(answers));
    let mut pairs = pairs.enumerate();
    pairs.find_map(|(position, (step, (theirs, ours)))| {
        let is_head = text(&step["request"]["method"]).eq_ignore_ascii_case("head");
        (!is_alike(theirs, ours, is_head)).then(|| told_apart(position, theirs, ours))
    })
}

/// What differs of a step, and nothing else.
fn told_apart(position: usize, theirs: &Answer, ours: &Answer) -> (String, String) {
    let tell = |answer: &Answer, other: &Answer| {
        let mut told = format!("step {position}: from_cache {}", answer.from_cache);
        match (&answer.seen, &other.seen) {
            (Ok(seen), Ok(others)) => {
                if (seen.status, &seen.body) != (others.status, &others.body) {
                    told += &format!(", {} {:?}", seen.status, seen.body);
                }
                let only: Vec<_> = seen.headers.iter().filter(|line| !others.headers.contains(line)).collect();
                told += &format!(", headers {only:?}");
                if seen.set_cookie != others.set_cookie {
                    told += &format!(", set_cookie {:?}", seen.set_cookie);
                }
            }
            (Ok(seen), Err(_)) => told += &format!(", {seen:?}"),
            (Err(class), _) => told += &format!(", error {class}"),
        }
        if let (Some(keys), Some(others)) = (&answer.keys, &other.keys) {
            let only: Vec<_> = keys.iter().filter(|key| !others.contains(key)).collect();
            told += &format!(", keys {only:?}");
        }
        if answer.stored != other.stored {
            told += &format!(", stored {:?}", answer.stored);
        }
        told
    };
    (tell(theirs, ours), tell(ours, theirs))
}

/// Whether two answers are the same to whoever asked. The body of a HEAD goes to nobody: we leave it out of hits and say
/// how long it is, Django leaves that to its server.
fn is_alike(theirs: &Answer, ours: &Answer, is_head: bool) -> bool {
    let same_keys = match (&theirs.keys, &ours.keys) {
        (Some(theirs), Some(ours)) => {
            theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(theirs, ours)| {
                    (&theirs.0, &theirs.1) == (&ours.0, &ours.1) && (theirs.2 - ours.2).abs() < 1e-3
                })
        }
        (theirs, ours) => theirs.is_none() == ours.is_none(),
    };
    let same_response = match (&theirs.seen, &ours.seen) {
        (Ok(theirs_seen), Ok(ours_seen)) => {
            let length = theirs_seen.body.len().to_string();
            let bare = |seen: &Seen| {
                let mut seen = seen.clone();
                seen.headers.retain(|(name, value)| name != CONTENT_LENGTH.as_str() || *value != length);
                if is_head && ours.from_cache {
                    seen.body.clear();
                }
                seen
            };
            bare(theirs_seen) == bare(ours_seen)
        }
        (theirs, ours) => theirs == ours,
    };
    theirs.from_cache == ours.from_cache && same_response && same_keys && theirs.stored == ours.stored
}
