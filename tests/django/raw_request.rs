//! The requests of `keys.json` and `middleware.json`: raw HTTP as a server would hand it over, with Django's settings read
//! as ours. Both runners make their requests and layers here.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use larder::{CacheLayer, Forwarded, Language, TimeZone};
use serde_json::Value;

/// The request of a case, or what `http` said about it. Each char is one raw byte.
pub fn request(raw: &Value) -> Result<Request<()>, String> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&latin_1(text(&raw["method"]))).map_err(|error| error.to_string())?;
    *request.uri_mut() = uri(raw)?;
    if let Some(host) = raw["host"].as_str() {
        request.headers_mut().insert(HOST, header_value(host)?);
    }
    *request.headers_mut() = headers(request.headers().clone(), &raw["headers"])?;
    Ok(request)
}

/// Adds header lines, each as a line of its own.
pub fn headers(mut headers: HeaderMap, lines: &Value) -> Result<HeaderMap, String> {
    for line in lines.as_array().into_iter().flatten() {
        let name = HeaderName::from_bytes(&latin_1(text(&line[0]))).map_err(|error| format!("{line}: {error}"))?;
        headers.append(name, header_value(text(&line[1]))?);
    }
    Ok(headers)
}

pub fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(&latin_1(text)).map_err(|error| format!("{text:?}: {error}"))
}

/// The target as the client sent it: the mount prefix is a part of it (PGK-25).
fn uri(raw: &Value) -> Result<Uri, String> {
    let prefix = raw["script_name"].as_str().unwrap_or_default().trim_end_matches('/');
    let target = latin_1(&format!("{prefix}{}", text(&raw["target"])));
    let uri = Uri::try_from(target.as_slice()).map_err(|error| error.to_string())?;
    match uri.path_and_query() {
        Some(kept) if kept.as_str().as_bytes() == target => Ok(uri),
        kept => Err(format!("http makes {kept:?} of it")),
    }
}

/// A layer that finds scheme and host as Django does under these settings (PGK-7, PGK-24).
pub fn locate(layer: CacheLayer, settings: &Value, raw: &Value) -> CacheLayer {
    let mut forwarded = Forwarded::none();
    if settings["use_x_forwarded_host"] == true {
        forwarded = forwarded.host();
    }
    if settings["use_x_forwarded_port"] == true {
        forwarded = forwarded.port();
    }
    let server_scheme = text(&raw["scheme"]);
    let mut scheme = server_scheme;
    if let Some(proxy) = settings["secure_proxy_ssl_header"].as_array() {
        let header = text(&proxy[0]).trim_start_matches("HTTP_").replace('_', "-").to_lowercase();
        forwarded = forwarded.scheme(&header, text(&proxy[1]));
        let lines = raw["headers"].as_array().into_iter().flatten();
        let value = lines.filter(|line| text(&line[0]).eq_ignore_ascii_case(&header)).map(|line| text(&line[1])).next();
        if let Some(value) = value {
            let is_secure = value.split(',').next().map(str::trim) == proxy[1].as_str();
            scheme = if is_secure { "https" } else { "http" };
        }
    }
    let mut layer = layer.scheme(server_scheme).trust(forwarded);
    if let Some(name) = raw["server_name"].as_str() {
        // What Django leaves out of a host, whoever configures the layer leaves out too.
        let port = raw["server_port"].as_u64().unwrap_or(80);
        let is_default = port == if scheme == "https" { 443 } else { 80 };
        layer = layer.host(if is_default { name.to_owned() } else { format!("{name}:{port}") });
    }
    layer
}

/// The language that Django puts into keys (PGK-13).
pub fn language(settings: &Value, active: &Value) -> Option<Language> {
    if settings["use_i18n"] != true {
        return None;
    }
    if let Some(code) = active["request_language_code"].as_str() {
        return Some(Language::new(code));
    }
    Some(match active.get("language") {
        None => Language::new(text(&settings["language_code"])),
        Some(Value::Null) => Language::new("None"),
        Some(code) => Language::new(text(code).to_lowercase().replace('_', "-")),
    })
}

/// The time zone that Django puts into keys: a zone of a fixed offset goes by the name that Python gives it (PGK-14).
pub fn time_zone(settings: &Value, active: &Value) -> Option<TimeZone> {
    if settings["use_tz"] != true {
        return None;
    }
    let Some(zone) = active.get("timezone") else { return Some(TimeZone::new(text(&settings["time_zone"]))) };
    if let Some(name) = zone.as_str() {
        return Some(TimeZone::new(name));
    }
    let parts = |minutes: i64| (if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60);
    if let Some(minutes) = zone["offset_minutes"].as_i64() {
        let (sign, hours, minutes) = parts(minutes);
        return Some(TimeZone::new(format!("{sign}{hours:02}{minutes:02}")));
    }
    Some(match zone["utc_offset_minutes"].as_i64() {
        Some(0) | None => TimeZone::new("UTC"),
        Some(minutes) => {
            let (sign, hours, minutes) = parts(minutes);
            TimeZone::new(format!("UTC{sign}{hours:02}:{minutes:02}"))
        }
    })
}

pub fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap_or_else(|_| panic!("{char:?} is not one raw byte"))).collect()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
