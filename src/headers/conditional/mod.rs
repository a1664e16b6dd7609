//! Conditional requests: entity tags, the preconditions of RFC 9110 section 13, and the layers that answer 304 and 412.
//! Applications put the layers on routes; the page floor evaluates what it answers from the cache with the same functions.
//!
//! | what | when it decides | Django's name |
//! |---|---|---|
//! | [`conditional_get`] | after the handler ran, by the validators of its response | `ConditionalGetMiddleware`, `conditional_page` |
//! | [`condition`], [`etag`], [`last_modified`] | before the handler runs, by functions of the request | the decorators of these names |
//! | [`evaluate`], [`not_modified_headers`] | whenever they are called | `get_conditional_response` |
//!
//! `If-Range` is not evaluated, as in Django (CON-18): whoever serves ranges does it, and neither layer makes them.

mod ask;
mod body;
mod condition;
mod evaluate;
mod get;
mod tag;

pub use ask::{Ask, Asked, AtOnce, FromHead, Later, LaterFromOwned, NotAsked, Translated};
pub use body::ConditionalBody;
pub use condition::{Condition, ConditionFuture, ConditionLayer, condition, etag, last_modified};
pub(crate) use evaluate::evaluate_response;
pub use evaluate::{Outcome, Validators, evaluate, not_modified_headers};
pub(crate) use get::is_tagged_further_out;
pub use get::{ConditionalGet, ConditionalGetFuture, ConditionalGetLayer, conditional_get};
pub use tag::EntityTag;
