//! Whose page a body is: every page of the chaos says in its first line what it was made for, and repeats it to its end.
//! The origin writes it, the visitors read it and let no byte differ.

use std::fmt::Write;

use bytes::Bytes;

/// What a page was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The number of its URL.
    pub url: u64,
    /// The value of the header it varies on; `None` is a page for anybody.
    pub visitor: Option<u64>,
    /// How often its URL was purged when its handler began.
    pub version: u64,
    /// The request it was made for.
    pub request: u64,
    /// Nobody else may see it.
    pub is_private: bool,
    /// Bytes of the body.
    pub size: usize,
}

impl Identity {
    /// The first line of the body; a header says it too.
    pub fn line(&self) -> String {
        let Identity { url, visitor, version, request, is_private, size } = self;
        let visitor = visitor.map_or("anybody".to_owned(), |visitor| visitor.to_string());
        format!("url={url} visitor={visitor} version={version} request={request} private={is_private} size={size}")
    }

    /// The whole body: every piece of it names the request it was made for.
    pub fn body(&self) -> Bytes {
        let mut body = self.line();
        body.push('\n');
        let filling = ".".repeat(200);
        while body.len() < self.size {
            let at = body.len();
            let _ = write!(body, "{:x}@{at:x}{filling}", self.request);
        }
        body.truncate(self.size.max(self.line().len() + 1));
        Bytes::from(body)
    }

    pub fn etag(&self) -> String {
        format!("\"{:x}.{:x}.{:x}\"", self.url, self.version, self.request)
    }

    pub fn of_line(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let mut value = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let identity = Identity {
            url: value("url")?.parse().ok()?,
            visitor: match value("visitor")?.as_str() {
                "anybody" => None,
                visitor => Some(visitor.parse().ok()?),
            },
            version: value("version")?.parse().ok()?,
            request: value("request")?.parse().ok()?,
            is_private: value("private")?.parse().ok()?,
            size: value("size")?.parse().ok()?,
        };
        (identity.line() == line).then_some(identity)
    }

    /// Whose body this is, if it is whole.
    pub fn of_body(body: &[u8]) -> Option<Self> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let identity = Identity::of_line(std::str::from_utf8(&body[..end]).ok()?)?;
        (identity.body() == body).then_some(identity)
    }
}
