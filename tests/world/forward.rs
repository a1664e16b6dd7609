//! A backend around another one writes only what it does itself, and names what it passes on.
//! The tests' backends and that of `benches/backends` use it.

/// Methods of [`larder::backend::Backend`] that are those of a field: `forward!(text: get, add, clear);`.
#[allow(unused_macros, reason = "each test program uses a part of it")]
macro_rules! forward {
    ($within:tt: $($method:ident),+ $(,)?) => {
        $(forward!(@ $within $method);)+
    };
    (@ $within:tt clock) => {
        fn clock(&self) -> larder::Clock {
            self.$within.clock()
        }
    };
    (@ $within:tt key_rule) => {
        fn key_rule(&self) -> larder::backend::KeyRule {
            self.$within.key_rule()
        }
    };
    (@ $within:tt get) => {
        fn get<'a>(&'a self, key: &'a str) -> larder::backend::Reply<'a, Option<larder::backend::Stored>> {
            self.$within.get(key)
        }
    };
    (@ $within:tt set) => {
        forward!(@ $within set, ());
    };
    (@ $within:tt add) => {
        forward!(@ $within add, bool);
    };
    (@ $within:tt $method:ident, $answer:ty) => {
        fn $method<'a>(
            &'a self,
            key: &'a str,
            value: larder::backend::Stored,
            ttl: Option<std::time::Duration>,
        ) -> larder::backend::Reply<'a, $answer> {
            self.$within.$method(key, value, ttl)
        }
    };
    (@ $within:tt touch) => {
        fn touch<'a>(
            &'a self,
            key: &'a str,
            ttl: Option<std::time::Duration>,
        ) -> larder::backend::Reply<'a, bool> {
            self.$within.touch(key, ttl)
        }
    };
    (@ $within:tt delete) => {
        fn delete<'a>(&'a self, key: &'a str) -> larder::backend::Reply<'a, bool> {
            self.$within.delete(key)
        }
    };
    (@ $within:tt incr) => {
        fn incr<'a>(&'a self, key: &'a str, delta: i64) -> larder::backend::Reply<'a, Option<i64>> {
            self.$within.incr(key, delta)
        }
    };
    (@ $within:tt clear) => {
        fn clear<'a>(&'a self, prefix: &'a str) -> larder::backend::Reply<'a, ()> {
            self.$within.clear(prefix)
        }
    };
}

#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use forward;
