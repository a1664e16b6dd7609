//! Who answers: the bare route, larder and its peers, each in memory and set up as its documentation tells, around the
//! router and inside it. The runs meet them one by one.
//!
//! Where a peer leaves a choice, it has the faster one: hitbox rkyv for JSON and its broadcasting concurrency manager,
//! tower-http-cache-plus no compression. axum's body is neither `Sync`, as tower-http-cache asks, nor can it be cloned, as
//! tower-resilience-cache asks: inside of these two it is read into one that is, on a miss.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum_response_cache as response_cache;
use hitbox::concurrency::BroadcastConcurrencyManager;
use hitbox::policy::{ConcurrencyLimit, PolicyConfig};
use hitbox_backend::format::RkyvFormat;
use hitbox_http::extractors::Method;
use hitbox_http::extractors::path::PathExtractor;
use hitbox_http::predicates::NeutralRequestPredicate;
use hitbox_http::predicates::response::StatusCode as WithStatus;
use hitbox_http::{CacheableHttpResponse, extractors::NeutralExtractor};
use hitbox_moka::MokaBackend;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use http_cache::MokaManager;
use http_cache_tower_server::{QueryKeyer, ServerCacheLayer};
use larder::{Cache, CacheLayer};
use tower::util::{AndThenLayer, MapErrLayer};
use tower::{Layer, Service, ServiceBuilder};
use tower_http_cache::backend::memory::InMemoryBackend;
use tower_http_cache_plus::CachingLayer;
use tower_http_cache_plus::cache::CommonCacheKey;
use tower_http_cache_plus::cache::implementation::moka::{ForHttpResponse, MokaCacheImplementation};
use tower_resilience_cache::SharedCacheLayer;

use super::origin::Origin;

/// The bare axum route, which the others are compared with, comes first.
pub const BASE: &str = "axum route";

const TIMEOUT: Duration = Duration::from_secs(3600);
const PAGES: u64 = 10_000;
const BYTES: u64 = 64 << 20;

/// One run's way to deal with each contestant.
pub trait Meet {
    fn meet<S, B>(&mut self, name: &'static str, service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who takes part.
#[derive(Clone, Copy, PartialEq)]
pub enum Who {
    Everybody,
    /// Without the peers inside the router, and without the bare service for slow pages.
    Around,
}

/// Meets each with a cold store in front of the origin.
pub fn each(origin: &Origin, who: Who, run: &mut impl Meet) {
    run.meet(BASE, origin.router());
    if who == Who::Everybody {
        run.meet("tower service", origin.bare());
    }

    let layer = || CacheLayer::per_site().cache(&Cache::memory());
    run.meet("larder outside", layer().layer(origin.router()));
    run.meet("larder inside", origin.routes().layer(layer()).with_state(()));

    macro_rules! peer {
        ($outside:literal, $inside:literal, $layer:expr) => {
            run.meet($outside, Layer::layer(&$layer, origin.router()));
            if who == Who::Everybody {
                run.meet($inside, origin.routes().layer($layer).with_state(()));
            }
        };
    }

    let layer = || response_cache::CacheLayer::with_lifespan(TIMEOUT);
    peer!("axum-response-cache outside", "axum-response-cache inside", layer());

    let layer = || {
        let cache = tower_http_cache::CacheLayer::builder(InMemoryBackend::new(PAGES)).ttl(TIMEOUT).build();
        ServiceBuilder::new().layer(never_fails()).layer(cache).layer(AndThenLayer::new(read_to_its_end))
    };
    peer!("tower-http-cache outside", "tower-http-cache inside", layer());

    let layer = || {
        let cache = moka::future::Cache::<CommonCacheKey, _, _>::builder().for_http_response();
        let cache = MokaCacheImplementation::new(cache.max_capacity(BYTES).time_to_live(TIMEOUT).build());
        CachingLayer::default().cache(cache).disable_encoding()
    };
    peer!("tower-http-cache-plus outside", "tower-http-cache-plus inside", layer());

    let layer = || {
        let manager = MokaManager::new(moka::future::Cache::new(PAGES));
        ServiceBuilder::new().layer(never_fails()).layer(ServerCacheLayer::with_keyer(manager, QueryKeyer))
    };
    peer!("http-cache-tower-server outside", "http-cache-tower-server inside", layer());

    let layer = || {
        let policy = PolicyConfig::builder().ttl(TIMEOUT);
        let policy = policy.concurrency(ConcurrencyLimit::new(1).expect("one is within 1 to 255")).build();
        let extractor = Method::<NeutralExtractor<Body>>::new().path("{path}*");
        let config = hitbox::Config::builder()
            .request_predicate(NeutralRequestPredicate::<Body>::new())
            .response_predicate(WithStatus::new(StatusCode::OK))
            .extractor(extractor)
            .policy(policy)
            .build();
        let waiting = BroadcastConcurrencyManager::<Result<CacheableHttpResponse<Body>, Infallible>>::new();
        let store = MokaBackend::builder().max_entries(PAGES).value_format(RkyvFormat::new()).build();
        hitbox_tower::Cache::builder().backend(store).config(config).concurrency_manager(waiting).build()
    };
    peer!("hitbox-tower outside", "hitbox-tower inside", layer());

    let layer = || {
        let key = |request: &Request<Body>| (request.method().clone(), request.uri().clone());
        let cache = SharedCacheLayer::builder().max_size(PAGES as usize).ttl(TIMEOUT).key_extractor(key).build();
        let cache = Shared(Arc::new(cache.expect("it has a key extractor")));
        ServiceBuilder::new().layer(never_fails()).layer(cache).layer(AndThenLayer::new(read_to_its_end))
    };
    peer!("tower-resilience-cache outside", "tower-resilience-cache inside", layer());
}

/// axum takes only services that cannot fail; these say they can, and do not when the handler cannot.
fn never_fails<E: Debug>() -> MapErrLayer<fn(E) -> Infallible> {
    MapErrLayer::new(|error| panic!("no cache fails here: {error:?}"))
}

async fn read_to_its_end(response: Response<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body from memory does not fail").to_bytes();
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// A layer that can be cloned whatever it is for; tower-resilience-cache's only where requests can be.
struct Shared<L>(Arc<L>);

impl<L> Clone for Shared<L> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<S, L: Layer<S>> Layer<S> for Shared<L> {
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.0.layer(inner)
    }
}
