//! `Tags`: how a handler names what its page is about, so that `Cache::purge_tag` reaches it.
//! Handlers leave it on their responses, layers add their own; the fill takes it down.

use std::collections::BTreeSet;

use http::Extensions;

use super::reason::Reason;
use crate::backend::Objects;
use crate::cache::{Cache, TagName};

/// The tags of a page: names of what it shows. [`Cache::purge_tag`] makes every page unreachable that has a tag.
///
/// A handler leaves them on its response as an extension; under the feature `axum` it can return them beside its body.
/// A layer has tags for all of its pages by [`CacheLayer::tags`](super::CacheLayer::tags). A page may have 128 of them, of
/// 1,024 bytes each; one with more is passed on and not stored ([`Reason::Tags`]). They are not sent to the visitor.
///
/// ```
/// use http::Response;
/// use larder::Tags;
///
/// let mut response = Response::new("An article of two authors");
/// response.extensions_mut().insert(Tags::new(["article:7", "author:3"]).and("author:5"));
/// ```
///
/// With axum:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::response::IntoResponse;
/// use larder::Tags;
///
/// async fn article() -> impl IntoResponse {
///     (Tags::new(["article:7"]), "An article")
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeSet<String>);

/// The most tags of a page.
const MOST: usize = 128;

/// The longest tag, in bytes.
const LONGEST: usize = 1024;

impl Tags {
    /// These tags, each once.
    pub fn new(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Tags(tags.into_iter().map(Into::into).collect())
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, tag: impl Into<String>) -> Self {
        self.0.insert(tag.into());
        self
    }

    /// The tags, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds these to the ones that are on a response.
    pub(super) fn add_to(&self, extensions: &mut Extensions) {
        if self.is_empty() {
            return;
        }
        match extensions.get_mut::<Tags>() {
            Some(Tags(tags)) => tags.extend(self.0.iter().cloned()),
            None => {
                extensions.insert(self.clone());
            }
        }
    }

    /// The names of the tags on a response.
    pub(super) fn names(extensions: &Extensions, cache: &Cache) -> Result<Vec<TagName>, Reason> {
        let Some(Tags(tags)) = extensions.get() else { return Ok(Vec::new()) };
        if tags.len() > MOST || tags.iter().any(|tag| tag.len() > LONGEST) {
            return Err(Reason::Tags);
        }
        Ok(tags.iter().map(|tag| cache.tag_name(tag)).collect())
    }
}

impl<T: Into<String>> FromIterator<T> for Tags {
    fn from_iter<I: IntoIterator<Item = T>>(tags: I) -> Self {
        Tags::new(tags)
    }
}

/// Leaves the tags on the response, beside those that are there.
#[cfg(feature = "axum")]
impl axum::response::IntoResponseParts for Tags {
    type Error = std::convert::Infallible;

    fn into_response_parts(
        self,
        mut response: axum::response::ResponseParts,
    ) -> Result<axum::response::ResponseParts, Self::Error> {
        self.add_to(response.extensions_mut());
        Ok(response)
    }
}

/// The tags of a page in this process's memory, and how many purges there had been when it was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(super) begun: u64,
    pub(super) names: Box<[TagName]>,
}

impl Tagged {
    /// Whether one of the tags was purged since.
    pub(super) fn is_purged(&self, objects: &dyn Objects) -> bool {
        self.names.iter().any(|name| objects.is_purged_since(name.as_bytes(), self.begun))
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Tagged>() + size_of_val(&*self.names)
    }
}
