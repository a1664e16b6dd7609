//! What a handler of axum returns beside its body, to decide about caching at run time; under the feature `axum`.
//! Each value does to the response what the layer of the same name does, by the same rules.

use axum::response::{IntoResponseParts, ResponseParts};
use std::convert::Infallible;

use super::cache_control::CacheControl;
use super::layer::{NeverCache, PatchHeaders, VaryOn};
use super::targeted::Targeted;

macro_rules! returned_by_handlers {
    ($($patch:ty),*) => {$(
        /// Patches the response that it is returned with; of several values the first patches first.
        impl IntoResponseParts for $patch {
            type Error = Infallible;

            fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
                self.patch(response.headers_mut());
                Ok(response)
            }
        }
    )*};
}

returned_by_handlers!(CacheControl, NeverCache, VaryOn, Targeted);
