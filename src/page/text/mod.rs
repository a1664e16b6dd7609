//! Pages in stores that need text under text: keys in Django's shape, the lists of headers a URL's pages vary on, and a frame
//! for each page. The response future seeks here, the fill stores here, and `Pages` deletes here, where memory is not the store.

pub(super) mod django_url;
pub(super) mod inquiry;
pub(super) mod key;
pub(super) mod key_scheme;
pub(super) mod known;
pub(super) mod likely;
pub(super) mod recall;
mod store;

pub(super) use store::{Found, Sought, delete, seek, store, take_away, try_seek};
