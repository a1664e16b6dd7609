//! Caches out of configuration: URLs, aliases, the environment and the default of the process.

use std::process::Command;
use std::time::Duration;

use larder::{Cache, Caches, Error, Timeout};

async fn refused(url: &str) -> String {
    match Cache::connect(url).await {
        Err(Error::Config(message)) => message,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_url_names_store_and_settings() -> Result<(), Error> {
    let cache = Cache::connect("memory://?key_prefix=my%20%C3%A9&version=2&timeout=0").await?;
    assert_eq!(cache.backend().name(), "memory");
    assert_eq!(cache.make_key("k"), "my é:2:k");
    cache.set("k", 1, Timeout::Default).await?;
    assert!(!cache.contains("k").await?);
    for url in ["memory://", "memory:", "memory", "memory://?", "memory://?timeout=never", "memory://?timeout=-1"] {
        Cache::connect(url).await?.set("k", 1, 30).await?;
    }
    assert_eq!(Cache::connect("dummy://?key_prefix=x").await?.backend().name(), "dummy");
    let small = Cache::connect("memory://?max_bytes=1000").await?;
    assert!(matches!(small.set("k", "x".repeat(1000), 30).await, Err(Error::TooLarge { .. })));
    Ok(())
}

#[tokio::test]
async fn what_a_url_gets_wrong_is_said() {
    let unknown = refused("memroy://user:secret@host?timeout=1").await;
    assert!(unknown.starts_with("unknown cache scheme \"memroy\": this build knows memory, dummy"), "{unknown}");
    assert!(!unknown.contains("secret"), "{unknown}");
    assert!(refused("memory://host").await.contains("neither host nor path"));
    let unknown = refused("memory://?max_byte=1").await;
    assert!(
        unknown.contains("\"max_byte\"") && unknown.contains("timeout, key_prefix, prefix, version, max_bytes"),
        "{unknown}"
    );
    assert!(refused("dummy://?max_bytes=1").await.contains("unknown option"));
    for value in ["abc", "", "1.5", "1e3", "99999999999999999999"] {
        let message = refused(&format!("memory://?timeout={value}")).await;
        assert!(message.contains("\"timeout\"") && message.contains(&format!("{value:?}")), "{message}");
    }
    assert!(refused("memory://?max_bytes=-1").await.contains("\"max_bytes\""));
    assert!(refused("memory://?key_prefix=%zz").await.contains("percent-encoded"));
    assert!(refused("memory://?key_prefix=%f").await.contains("percent-encoded"));
    assert!(refused("memory://?timeout=1&timeout=2").await.contains("twice"));
}

#[tokio::test]
async fn the_prefix_has_two_names_and_capitals_do_not_matter() -> Result<(), Error> {
    assert_eq!(Cache::connect("MEMORY://?PREFIX=a&VERSION=2").await?.make_key("k"), "a:2:k");
    assert!(refused("memory://?prefix=a&key_prefix=a").await.contains("are one"));
    assert!(refused("memory://?max_entries=100").await.contains("counts bytes"));
    Ok(())
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_scheme_that_was_not_built_in_names_its_feature() {
    for scheme in ["redis", "rediss", "redis+sentinel"] {
        let message = refused(&format!("{scheme}://user:secret@host")).await;
        assert!(message.contains(&format!("{scheme:?} needs the feature \"redis\"")), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn aliases_name_caches() -> Result<(), Error> {
    let caches = Caches::builder().with("default", Cache::memory()).with("off", Cache::dummy()).build();
    caches.get("default")?.set("k", 1, 30).await?;
    assert_eq!(caches.get("default")?.get::<i32>("k").await?, Some(1));
    assert_eq!(caches.get("off")?.get::<i32>("k").await?, None);
    let error = caches.get("Default").unwrap_err().to_string();
    assert!(error.contains("\"Default\"") && error.contains("default, off"), "{error}");
    Ok(())
}

#[test]
fn the_environment_names_caches() -> Result<(), Error> {
    let variables = |pairs: &[(&str, &str)]| {
        Caches::from_variables(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    };
    let caches = variables(&[
        ("CACHE_URL", "dummy://"),
        ("CACHE_URL_SESSIONS", "memory://?key_prefix=s"),
        ("CACHE_URLS", "nonsense"),
        ("CACHE_URL_", "nonsense"),
        ("PATH", "/bin"),
    ])?;
    assert_eq!(caches.aliases().collect::<Vec<_>>(), ["default", "sessions"]);
    assert_eq!(caches.get("default")?.backend().name(), "dummy");
    assert_eq!(caches.get("sessions")?.make_key("k"), "s:1:k");
    assert_eq!(variables(&[])?.get("default")?.backend().name(), "memory");
    let error = variables(&[("CACHE_URL_API", "redys://")]).unwrap_err().to_string();
    assert!(error.starts_with("CACHE_URL_API: unknown cache scheme \"redys\""), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_name_that_another_has_for_a_store_gets_a_hint() {
    for (url, ours) in
        [("locmemcache://", "memory://"), ("pymemcache://a:1", "memcached://"), ("rediscache://a", "redis://")]
    {
        let message = refused(url).await;
        assert!(message.contains(&format!("(write {ours})")), "{message}");
    }
}

/// A shell and a compose file set a variable to nothing where they mean that there is none.
#[test]
fn an_empty_variable_is_one_that_is_not_set() -> Result<(), Error> {
    let caches = Caches::from_variables(
        [("CACHE_URL", ""), ("CACHE_URL_API", ""), ("CACHE_URL_PAGES", "dummy://")]
            .map(|(name, url)| (name.to_owned(), url.to_owned())),
    )?;
    assert_eq!(caches.aliases().collect::<Vec<_>>(), ["default", "pages"]);
    assert_eq!(caches.get("default")?.backend().name(), "memory");
    Ok(())
}

/// `timeout=5` is 5 seconds; `get_timeout=5` would be 5 milliseconds to some and 5 seconds to others.
#[cfg(all(feature = "redis", feature = "memcached"))]
#[tokio::test]
async fn a_time_that_a_call_may_take_has_its_unit() -> Result<(), Error> {
    for url in [
        "redis://a?get_timeout=",
        "redis://a?breaker_pause=",
        "memcached://a?connect_timeout=",
        "memcached://a?set_timeout=",
    ] {
        for time in ["250", "5", "1.5s", "ms", "", "5m"] {
            let message = refused(&format!("{url}{time}")).await;
            assert!(
                message.contains("with its unit") && message.contains(&format!("{time:?}")),
                "{url}{time}: {message}"
            );
        }
        Cache::connect(&format!("{url}250ms")).await?;
    }
    Cache::connect("redis://a?breaker_pause=0").await?;
    Ok(())
}

/// What platforms such as Heroku set is taken where `CACHE_URL` says nothing.
#[cfg(feature = "memcached")]
#[test]
fn the_variables_of_a_platform_name_the_default() -> Result<(), Error> {
    let default_of = |pairs: &[(&str, &str)]| {
        let caches = Caches::from_variables(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        caches.and_then(|caches| caches.get("default")).map(|cache| cache.backend().name())
    };
    let servers = ("MEMCACHIER_SERVERS", "a.example:11211,b.example:11211");
    let (user, password) = (("MEMCACHIER_USERNAME", "me"), ("MEMCACHIER_PASSWORD", "secret"));
    assert_eq!(default_of(&[servers, user, password])?, "memcached");
    assert_eq!(default_of(&[servers, user, password, ("CACHE_URL_X", "memory://")])?, "memcached");
    assert_eq!(default_of(&[servers, user, password, ("CACHE_URL", "dummy://")])?, "dummy");
    let error = default_of(&[servers, password]).unwrap_err().to_string();
    assert!(error.contains("MEMCACHIER_USERNAME") && !error.contains("secret"), "{error}");
    Ok(())
}

/// Runs one of the tests below in a process of its own.
fn in_a_process_with(url: Option<&str>, test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored"]).env_remove("CACHE_URL").env_remove("MEMCACHE_SERVERS");
    command.env_remove("MEMCACHIER_SERVERS").env_remove("MEMCACHEDCLOUD_SERVERS");
    if let Some(url) = url {
        command.env("CACHE_URL", url);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn the_default_of_the_process_is_decided_once() {
    in_a_process_with(None, "process_of_its_own::memory_unless_said_otherwise");
    in_a_process_with(Some("dummy://"), "process_of_its_own::what_the_environment_says");
    in_a_process_with(Some("nonsense://"), "process_of_its_own::an_error_decides_nothing");
    in_a_process_with(Some("dummy://"), "process_of_its_own::what_is_installed_first");
}

/// Each needs an environment and a process of its own: [`in_a_process_with`] gives it one.
mod process_of_its_own {
    use super::*;

    #[tokio::test]
    #[ignore = "run by the_default_of_the_process_is_decided_once"]
    async fn memory_unless_said_otherwise() {
        let cache = Caches::process_default().unwrap();
        cache.set("k", 1, Duration::from_secs(30)).await.unwrap();
        assert_eq!(Caches::process_default().unwrap().get::<i32>("k").await.unwrap(), Some(1));
        let error = Caches::install(Caches::builder().with("default", Cache::dummy()).build()).unwrap_err();
        assert!(error.to_string().contains("decided already"), "{error}");
    }

    #[test]
    #[ignore = "run by the_default_of_the_process_is_decided_once"]
    fn what_the_environment_says() {
        assert_eq!(Caches::process_default().unwrap().backend().name(), "dummy");
    }

    #[test]
    #[ignore = "run by the_default_of_the_process_is_decided_once"]
    fn an_error_decides_nothing() {
        assert!(Caches::process_default().unwrap_err().to_string().contains("CACHE_URL: unknown cache scheme"));
        Caches::install(Caches::builder().with("default", Cache::memory()).build()).unwrap();
        assert_eq!(Caches::process_default().unwrap().backend().name(), "memory");
    }

    #[test]
    #[ignore = "run by the_default_of_the_process_is_decided_once"]
    fn what_is_installed_first() {
        let error = Caches::install(Caches::builder().with("other", Cache::dummy()).build()).unwrap_err();
        assert!(error.to_string().contains("\"default\""), "{error}");
        Caches::install(Caches::builder().with("default", Cache::memory()).build()).unwrap();
        assert_eq!(Caches::process_default().unwrap().backend().name(), "memory");
    }
}
