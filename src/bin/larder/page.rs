//! The commands on whole pages: what is stored for a URL, its keys, and forgetting it.
//! `main` calls them; they stand on the handle that a site's own layer gives, [`Pages`].

use http::header::VARY;
use http::{HeaderMap, HeaderValue, Request};
use larder::{Cache, CacheLayer, Clock, KeyScheme, Language, PageUrl, Pages, StoredPage, TimeZone};
use serde_json::{Map, Value, json};

use super::arguments::{Page, PageArguments, PageDelete, PageGet, PageKeys, PlaceArguments, Scheme};
use super::ask::confirm;
use super::failure::{Failure, note};
use super::print::{Out, counted, grouped, printable, put_bytes};
use super::span::print_span;

pub async fn run(place: &PlaceArguments, page: Page) -> Result<(), Failure> {
    match page {
        Page::Get(arguments) => get(place, arguments).await,
        Page::Delete(arguments) => delete(place, arguments).await,
        Page::Keys(arguments) => keys(place, &arguments).await,
    }
}

async fn get(place: &PlaceArguments, arguments: PageGet) -> Result<(), Failure> {
    let cache = place.cache().await?;
    let pages = pages(&cache, &arguments.page);
    let mut out = Out::new();
    let mut is_missing = false;
    for (position, url) in arguments.page.urls.iter().enumerate() {
        let Some(stored) = pages.get(page_url(&arguments.page, url)).await? else {
            note(&nothing_stored(&arguments.page, url));
            is_missing = true;
            continue;
        };
        let text_keys = text_keys(&cache, &pages, &arguments.page, url, &stored.headers)?;
        if arguments.body {
            out.bytes(&stored.body)?;
        } else if arguments.json {
            out.json(&as_json(url, &stored, &text_keys, cache.clock()))?;
        } else {
            if position > 0 {
                out.line("")?;
            }
            print(&mut out, url, &stored, &text_keys, cache.clock())?;
        }
    }
    out.finish()?;
    if is_missing { Err(Failure::Missing(None)) } else { Ok(()) }
}

fn print(out: &mut Out, url: &str, page: &StoredPage, keys: &[String], clock: &Clock) -> std::io::Result<()> {
    let now = clock.now();
    out.line(format!("url        {}", printable(url.as_bytes())))?;
    out.line(format!("status     {}", page.status))?;
    out.line(format!("age        {}", print_span(now.since(page.stored_at))))?;
    if now < page.expires_at {
        out.line(format!("time left  {}", print_span(page.expires_at.since(now))))?;
    } else {
        out.line(format!("stale for  {}", print_span(now.since(page.expires_at))))?;
    }
    out.line(format!("size       {} bytes", grouped(page.body.len() as u64)))?;
    for key in keys {
        out.line(format!("key        {}", printable(key.as_bytes())))?;
    }
    for (name, value) in &page.headers {
        out.line(format!("header     {name}: {}", printable(value.as_bytes())))?;
    }
    Ok(())
}

fn as_json(url: &str, page: &StoredPage, keys: &[String], clock: &Clock) -> Value {
    let now = clock.now();
    let headers = page.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".into(), name.as_str().into());
        put_bytes(&mut header, "value", value.as_bytes());
        Value::Object(header)
    });
    json!({
        "url": url,
        "status": page.status.as_u16(),
        "age": now.since(page.stored_at).as_secs(),
        "time_left": page.expires_at.since(now).as_secs(),
        "stale_for": now.since(page.expires_at).as_secs(),
        "stale_while_revalidate": page.stale_while_revalidate.as_secs(),
        "stale_if_error": page.stale_if_error.as_secs(),
        "bytes": page.body.len(),
        "keys": keys,
        "headers": headers.collect::<Vec<_>>(),
    })
}

async fn delete(place: &PlaceArguments, arguments: PageDelete) -> Result<(), Failure> {
    let cache = place.cache().await?;
    let pages = pages(&cache, &arguments.page);
    if let [first, .., last] = &arguments.page.urls[..] {
        let many = counted(arguments.page.urls.len() as u64, "page");
        confirm(&arguments.confirmation, &format!("This deletes {many}, {first} to {last}, from {}.", place.name()?))?;
    }
    let mut is_missing = false;
    for url in &arguments.page.urls {
        if !pages.delete(page_url(&arguments.page, url)).await? {
            note(&nothing_stored(&arguments.page, url));
            is_missing = true;
        }
    }
    if is_missing { Err(Failure::Missing(None)) } else { Ok(()) }
}

async fn keys(place: &PlaceArguments, arguments: &PageKeys) -> Result<(), Failure> {
    let cache = place.cache().await?;
    let pages = pages(&cache, &arguments.page);
    let mut response = HeaderMap::new();
    if let Some(vary) = &arguments.vary {
        let vary = vary.parse::<HeaderValue>();
        let vary = vary.map_err(|_| Failure::Usage("--vary is a list of header names".to_owned()))?;
        response.insert(VARY, vary);
    }
    let mut out = Out::new();
    for url in &arguments.page.urls {
        for key in text_keys(&cache, &pages, &arguments.page, url, &response)? {
            out.line(key)?;
        }
    }
    Ok(out.finish()?)
}

/// The final keys of a page; none where the store keeps pages without text keys, as memory does.
fn text_keys(
    cache: &Cache,
    pages: &Pages,
    arguments: &PageArguments,
    url: &str,
    response: &HeaderMap,
) -> Result<Vec<String>, Failure> {
    if cache.backend().objects().is_some() {
        return Ok(Vec::new());
    }
    let mut request =
        Request::get(url).body(()).map_err(|error| Failure::Usage(format!("{url:?} names no page: {error}")))?;
    request.headers_mut().extend(arguments.headers.iter().cloned());
    if let Some(language) = &arguments.language {
        request.extensions_mut().insert(Language::from(language.as_str()));
    }
    if let Some(time_zone) = &arguments.time_zone {
        request.extensions_mut().insert(TimeZone::from(time_zone.as_str()));
    }
    let keys = pages
        .keys(&request, response)
        .map_err(|reason| Failure::Usage(format!("{url:?} names no page: its host cannot be believed ({reason})")))?;
    Ok(vec![cache.make_key(&keys.header), cache.make_key(&keys.page)])
}

/// The handle of a layer that keys pages as the site's own does.
fn pages(cache: &Cache, arguments: &PageArguments) -> Pages {
    let mut layer = CacheLayer::per_site().cache(cache).key_prefix(&arguments.key_prefix);
    layer = layer.key_scheme(match arguments.key_scheme {
        Scheme::Sha256 => KeyScheme::Sha256,
        Scheme::Django52 => KeyScheme::Django52,
        Scheme::Django61 => KeyScheme::Django61,
    });
    if let Some(scheme) = &arguments.scheme {
        layer = layer.scheme(scheme);
    }
    if let Some(host) = &arguments.host {
        layer = layer.host(host);
    }
    layer.pages()
}

fn page_url(arguments: &PageArguments, url: &str) -> PageUrl {
    let mut page = PageUrl::new(url);
    if let Some(language) = &arguments.language {
        page = page.language(language.as_str());
    }
    if let Some(time_zone) = &arguments.time_zone {
        page = page.time_zone(time_zone.as_str());
    }
    arguments.headers.iter().fold(page, |page, (name, value)| page.header(name.clone(), value.clone()))
}

/// What is not there, in words: a wrong prefix, scheme or language is why a page seems to be missing. A site behind a
/// proxy keeps its pages under `http`, whatever its visitors type, unless its layer is told of TLS.
fn nothing_stored(arguments: &PageArguments, url: &str) -> String {
    let missing = format!("no page is stored for {}", asked(arguments, url));
    let other = match url.split_once("://") {
        Some(("https", rest)) => format!("http://{rest}"),
        Some(("http", rest)) => format!("https://{rest}"),
        _ => return missing,
    };
    format!("{missing}; the site may keep it under {other:?}")
}

fn asked(arguments: &PageArguments, url: &str) -> String {
    let mut words = vec![format!("{url:?}")];
    let told = [("language", &arguments.language), ("time zone", &arguments.time_zone)];
    words.extend(told.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value:?}"))));
    if !arguments.key_prefix.is_empty() {
        words.push(format!("key prefix {:?}", arguments.key_prefix));
    }
    words.extend(arguments.headers.iter().map(|(name, _)| format!("header {name}")));
    words.join(", ")
}
