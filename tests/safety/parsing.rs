//! Rules 1 and 2: what a response says of itself is read in every spelling it can come in.
//! Each spelling is tried on both stores, and the look-alikes beside it.

use crate::world::{HOME, Handler, ask, get, worlds};

async fn is_never_stored(lines: &[(&str, &str)], reason: &str) {
    for world in worlds() {
        let handler = Handler::saying(lines);
        let site = world.around(&handler);
        for call in 1..=2 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!(answer.text(), format!("answer {call}"), "{} {lines:?}", world.name);
            assert_eq!(answer.reason(), reason, "{} {lines:?}", world.name);
        }
        let text = world.text.map(|text| text.keys());
        assert_eq!(text.unwrap_or_default(), [""; 0], "{lines:?}");
    }
}

async fn is_stored(lines: &[(&str, &str)]) {
    for world in worlds() {
        let handler = Handler::saying(lines);
        let site = world.around(&handler);
        assert!(ask(&site, get(HOME)).await.cache_status().is_stored, "{} {lines:?}", world.name);
        assert!(ask(&site, get(HOME)).await.is_hit(), "{} {lines:?}", world.name);
        assert_eq!(handler.calls(), 1);
    }
}

#[tokio::test]
async fn rule_01_vary_star_is_never_stored() {
    let spellings: &[&[&str]] = &[
        &["*"],
        &[" *"],
        &["* "],
        &["\t*\t"],
        &[",*"],
        &["*,"],
        &[" , * , "],
        &["*, Cookie"],
        &["Cookie, *"],
        &["Cookie,*"],
        &["Cookie ,\t* , Accept"],
        &["Cookie,Accept,Accept-Encoding,Origin,*"],
        &["Cookie", "*"],
        &["*", "Cookie"],
        &["Cookie", "Accept", " ,*, "],
        &["", "*"],
        &["*", "*"],
    ];
    for lines in spellings {
        let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("vary", *line)).collect();
        is_never_stored(&lines, "vary").await;
    }
}

#[tokio::test]
async fn rule_01_vary_star_beats_public_and_a_lifetime() {
    is_never_stored(&[("cache-control", "public, max-age=600"), ("vary", "Cookie"), ("vary", " * ")], "vary").await;
}

#[tokio::test]
async fn rule_01_a_vary_that_cannot_be_compared_is_a_star() {
    for line in ["Cookie Accept", "\"Cookie\"", "Cookie;q=1", "Cookie, (comment)", "Accept, Coo\u{e9}kie", "Cookie\t*"]
    {
        is_never_stored(&[("vary", line)], "vary").await;
    }
}

#[tokio::test]
async fn rule_02_private_no_store_and_no_cache_are_never_stored() {
    for name in ["private", "no-store", "no-cache"] {
        let upper = name.to_uppercase();
        let mixed: String =
            name.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
        let spellings: Vec<Vec<String>> = vec![
            vec![name.into()],
            vec![upper.clone()],
            vec![mixed],
            vec![format!("  {name}\t")],
            vec![format!("{name},")],
            vec![format!(",,{name}")],
            vec![format!("public, {name}")],
            vec![format!("{name}, public, max-age=600")],
            vec![format!("max-age=600,{upper}")],
            vec![format!("max-age=600 , {name} ,must-revalidate")],
            vec![format!("{name}=\"Set-Cookie\"")],
            vec![format!("{name}=\"Set-Cookie, Link\", max-age=600")],
            vec![format!("{name}=")],
            vec![format!("{name} =x")],
            vec![format!("{name}=x")],
            vec![format!("ext=\"quoted, list\", {name}")],
            vec![format!("ext=\"with \\\" inside\", {name}")],
            vec![format!("ext=\"never closed, {name}")],
            vec![format!("ext=a\"b, {name}, c\"")],
            vec![format!("\"stray, {name}")],
            vec!["max-age=600".into(), name.into()],
            vec![name.into(), "max-age=600".into()],
            vec!["public".into(), "".into(), format!(" {upper} ")],
        ];
        for lines in spellings {
            let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("cache-control", line.as_str())).collect();
            is_never_stored(&lines, name).await;
        }
    }
}

#[tokio::test]
async fn rule_02_a_page_timeout_does_not_override_them() {
    for name in ["private", "no-store", "no-cache"] {
        for world in worlds() {
            let handler = Handler::saying(&[("cache-control", name)]);
            let page = tower::Layer::layer(&world.site().page_timeout(30), handler.clone());
            assert_eq!(ask(&page, get(HOME)).await.reason(), name);
            assert_eq!(ask(&page, get(HOME)).await.text(), "answer 2");
        }
    }
}

#[tokio::test]
async fn rule_02_look_alikes_are_stored() {
    for name in ["private", "no-store", "no-cache"] {
        for line in [
            format!("x-not-{name}"),
            format!("{name}-ish"),
            format!("{name}s"),
            format!("x{name}"),
            format!("ext=\"{name}\""),
            format!("ext=\"a, {name}, b\", max-age=600"),
            format!("ext=\"a \\\", {name}, \\\" b\""),
            format!("ext={name}"),
            "no-transform, must-revalidate, proxy-revalidate, immutable".into(),
        ] {
            is_stored(&[("cache-control", &line)]).await;
        }
    }
}
