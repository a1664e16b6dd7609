//! The README's transcript of `examples/headers.rs`, replayed against the example's own router.

#[expect(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/headers.rs"]
mod headers;
mod transcript;

#[tokio::test]
async fn the_readme_shows_what_the_example_answers() {
    let steps = transcript::steps("examples/headers.rs");
    transcript::assert_shows(
        &steps,
        &["stale-while-revalidate", "cdn-cache-control", "304 Not Modified", "vary: Cookie", "no-store", "public"],
    );
    transcript::replay(headers::site(), &steps, |_date| {}).await;
}
