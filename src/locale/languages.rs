//! Which of a site's languages a request gets: Django's matching, over the path, the cookie and `Accept-Language`.
//! Pure functions of a request's head; the [`LocaleLayer`](super::LocaleLayer) asks them.

use http::{HeaderMap, HeaderValue};

use super::Language;
use super::accept::{LONGEST, accept_language, wishes};
use super::cookie::cookie;

/// A language that a site has, and how it stands in `Content-Language`.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) language: Language,
    pub(super) header: HeaderValue,
}

impl Offer {
    /// The language of that code, in lower case; `None` for what Django's `language_code_re` does not take.
    fn new(code: &str) -> Option<Self> {
        let (tag, modifier) = code.split_once('@').map_or((code, None), |(tag, modifier)| (tag, Some(modifier)));
        let is_run = |text: &str, longest| {
            (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let first = tag.split('-').next().unwrap_or_default();
        let is_code = tag.split('-').all(|subtag| is_run(subtag, 8))
            && first.bytes().all(|byte| byte.is_ascii_alphabetic())
            && modifier.is_none_or(|modifier| is_run(modifier, 20));
        let code = code.to_ascii_lowercase();
        let header = is_code.then(|| HeaderValue::try_from(&code).ok()).flatten()?;
        Some(Offer { language: Language::new(code), header })
    }

    fn code(&self) -> &str {
        self.language.as_str()
    }
}

/// Where a path may begin with a language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nowhere.
    #[default]
    None,
    /// For every language (Django's `i18n_patterns`).
    All,
    /// For every language but the default one, which has no prefix (`prefix_default_language=False`).
    AllButDefault,
}

/// The languages of a site.
#[derive(Clone, Debug)]
pub(super) struct Languages {
    offers: Vec<Offer>,
    /// The default as it was given (`LANGUAGE_CODE`), and the language of the list that it means.
    default: Offer,
    default_variant: Offer,
}

/// The language of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) offer: &'a Offer,
    /// The path says so, and no header was looked at.
    pub(super) by_path: bool,
}

impl Languages {
    /// The languages of these codes, the first one the default.
    ///
    /// # Panics
    /// If there are none, or one is no language code.
    #[track_caller]
    pub(super) fn new<C: AsRef<str>>(codes: impl IntoIterator<Item = C>) -> Self {
        let mut offers: Vec<Offer> = Vec::new();
        for code in codes {
            let offer = offer(code.as_ref());
            if offers.iter().all(|other| other.code() != offer.code()) {
                offers.push(offer);
            }
        }
        let default = offers.first().expect("a site has at least one language").clone();
        Languages { offers, default_variant: default.clone(), default }
    }

    /// Makes another language the default, as it is where none of the list is a variant of it.
    #[track_caller]
    pub(super) fn set_default(&mut self, code: &str) {
        self.default = offer(code);
        self.default_variant = self.variant(code).unwrap_or(&self.default).clone();
    }

    /// Django's `LocaleMiddleware.process_request`.
    pub(super) fn find(&self, path: &str, headers: &HeaderMap, cookie_name: Option<&str>, prefix: Prefix) -> Found<'_> {
        let by_path = if prefix == Prefix::None { None } else { self.of_path(path) };
        if let Some(offer) = by_path {
            return Found { offer, by_path: true };
        }
        let offer = match prefix {
            Prefix::AllButDefault => &self.default,
            _ => self.of_headers(headers, cookie_name),
        };
        Found { offer, by_path: false }
    }

    /// `get_language_from_path`: the first segment, if it is one to three words joined by `-` or `@`.
    fn of_path(&self, path: &str) -> Option<&Offer> {
        let segment = path.strip_prefix('/')?.split('/').next()?;
        let mut words = segment.split(['-', '@']);
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|char| char.is_alphanumeric() || char == '_');
        let is_prefix = words.by_ref().take(3).all(is_word) && words.next().is_none();
        is_prefix.then(|| self.variant(segment)).flatten()
    }

    /// `get_language_from_request` behind the path: cookie, `Accept-Language`, default.
    fn of_headers(&self, headers: &HeaderMap, cookie_name: Option<&str>) -> &Offer {
        let chosen = cookie_name.and_then(|name| cookie(headers, name)).and_then(|code| self.variant(code));
        if let Some(offer) = chosen {
            return offer;
        }
        let accepted = accept_language(headers);
        let wishes = wishes(&accepted);
        let named = wishes.iter().map(|(tag, _)| *tag).take_while(|tag| *tag != "*");
        named.into_iter().find_map(|tag| self.variant(tag)).unwrap_or(&self.default_variant)
    }

    /// `get_supported_language_variant`: the code itself, what takes its place, a more general one, at last the first
    /// of the list that is a regional form of the same language. Case does not count.
    pub(super) fn variant(&self, code: &str) -> Option<&Offer> {
        let code = match code.as_bytes().get(..LONGEST) {
            Some(begin) if code.len() > LONGEST => &code[..begin.iter().rposition(|byte| *byte == b'-')?],
            _ => code,
        };
        let mut general = code;
        if let Some(offer) = self.exactly(code).or_else(|| self.exactly(instead_of(code)?)) {
            return Some(offer);
        }
        while let Some(hyphen) = general.rfind('-') {
            general = &general[..hyphen];
            if let Some(offer) = self.exactly(general) {
                return Some(offer);
            }
        }
        self.offers.iter().find(|offer| {
            offer.code().get(..general.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(general))
                && offer.code().as_bytes().get(general.len()) == Some(&b'-')
        })
    }

    fn exactly(&self, code: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.code().eq_ignore_ascii_case(code))
    }
}

#[track_caller]
fn offer(code: &str) -> Offer {
    Offer::new(code).unwrap_or_else(|| panic!("{code:?} is no language code: write it as in `ja` or `pt-br`"))
}

/// What Django takes for a language that is not to be cut at its hyphen (`LANG_INFO`, `fallback`): the script of Chinese
/// follows from the region.
fn instead_of(code: &str) -> Option<&'static str> {
    const SIMPLIFIED: [&str; 3] = ["zh-cn", "zh-my", "zh-sg"];
    const TRADITIONAL: [&str; 3] = ["zh-hk", "zh-mo", "zh-tw"];
    let is_one_of = |codes: [&str; 3]| codes.iter().any(|one| one.eq_ignore_ascii_case(code));
    match code.len() {
        5 if is_one_of(SIMPLIFIED) => Some("zh-hans"),
        5 if is_one_of(TRADITIONAL) => Some("zh-hant"),
        _ => None,
    }
}
