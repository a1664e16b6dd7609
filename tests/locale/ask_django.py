"""Writes django.json: which language the real Django finds for made-up requests.

    python ask_django.py SITE_PACKAGES SEED COUNT > django.json

SITE_PACKAGES is a folder with Django in it. 5.2.19 and 6.1.3 answer alike (seed 11, 600 cases: the file). Paths and cookies are
in lower case: Django finds languages in them by case, larder does not.
"""
import json
import random
import sys
import types

sys.path.insert(0, sys.argv[1])
chance = random.Random(int(sys.argv[2]))

from django.conf import settings

settings.configure(DEBUG=True, USE_I18N=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
import django

django.setup()
from django.conf.urls.i18n import i18n_patterns, is_language_prefix_patterns_used
from django.http import HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.test import RequestFactory, override_settings
from django.urls import clear_url_caches, path
from django.utils import translation
from django.utils.translation import trans_real


def url_module(name, patterns):
    module = types.ModuleType(name)
    module.urlpatterns = patterns
    sys.modules[name] = module


def page(request):
    return HttpResponse(request.LANGUAGE_CODE)


url_module("none", [path("p/", page)])
url_module("all", i18n_patterns(path("p/", page)))
url_module("all-but-default", i18n_patterns(path("p/", page), prefix_default_language=False))

SITES = [
    ["en", "ja"],
    ["en", "de", "fr", "pt-br"],
    ["zh-hans", "zh-hant", "en"],
    ["zh-hant", "zh-hans"],
    ["pt-br", "pt", "es-mx", "es-ar", "en-gb"],
    ["en-us", "en", "fr", "de"],
    ["fr", "sr", "sr-latn", "nb", "en-au", "en-gb", "en"],
    ["es", "es-ni", "es-ve", "ca", "de"],
]
TAGS = """en en-us en-gb EN-GB en-AU ja ja-jp JA de de-at fr fr-ch fr-CA pt pt-pt pt-BR zh zh-tw zh-TW zh-hk zh-cn zh-mo
    zh-sg zh-my zh-hant zh-hant-tw zh-hans-cn zh-tw-x es es-mx es-419 es-co sr sr-latn sr-latn-rs sr-cyrl no nb nb-no ca
    ca-es-valencia xx xx-yy * i-klingon en-a-b-c-d x""".split()
BAD_TAGS = ["abcdefghi", "en_us", "1en", "en-", "-en", "\u00e9", "e1", "**", ""]
WEIGHTS = ["", "", ";q=1", ";q=1.0", ";q=0.9", ";q=0.5", "; q=0.8", " ;q=0.7", ";q=0.3", ";q=0", ";q=0.", ";q=0.000",
           ";q=0.001", ";q=0.999", ";q=1.000", ";Q=0.4"]
BAD_WEIGHTS = [";q=", ";q=2", ";q=0.1234", ";q=-1", ";", ";q=0.5;x=y", ";level=1", " ", ";q =0.5", ";q= 0.5"]
ODD_HEADERS = ["", " ", ",", ",,", "en,", "en,,de", " en", "en ", "en,ja,", "q=1", ";q=1", "\u00a0en", "en,\u00a0de",
               "de\u00a0,en", "*", "*;q=0.5,ja"]


def accept_language():
    kind = chance.random()
    if kind < 0.08:
        return None
    if kind < 0.13:
        return chance.choice(ODD_HEADERS)
    is_good = kind < 0.85
    tags, weights = (TAGS, WEIGHTS) if is_good else (TAGS + BAD_TAGS, WEIGHTS + BAD_WEIGHTS)
    count = chance.randint(60, 130) if chance.random() < 0.03 else chance.randint(1, 5)
    parts = [chance.choice(tags) + chance.choice(weights) for _ in range(count)]
    separators = [", ", ","] if chance.random() < 0.8 else [", ", ",", " , ", "\t,"]
    return "".join(part + chance.choice(separators) for part in parts[:-1]) + parts[-1]


def cookie():
    if chance.random() < 0.6:
        return None
    tag = chance.choice(TAGS + BAD_TAGS[:5]).lower()
    if chance.random() < 0.08:
        tag += "-" + "-".join(["abcd"] * chance.choice([3, 120, 200]))
    shapes = ["django_language=%s", "a=b; django_language=%s", "django_language=xx; django_language=%s",
              "django_language=%s; b", 'django_language="%s"', "django_language = %s ;z=1", "Django_Language=%s",
              "x=django_language=%s;"]
    return chance.choice(shapes) % tag


def path_info():
    if chance.random() < 0.2:
        return "/p/"
    tag = chance.choice(TAGS + ["zh-hant-tw-x"]).lower().replace("*", "star")
    shapes = ["/%s/p/"] * 6 + ["/%s", "/%s/", "/%s/x/y", "/a/%s/", "//%s/", "/%s.html", "/x%s/", "/%s@x/"]
    return chance.choice(shapes) % tag


def forget():
    """Django keeps what it found for settings that change here from case to case."""
    for cached in (trans_real._get_supported_language_variant, trans_real._parse_accept_lang_header,
                   trans_real.get_languages, is_language_prefix_patterns_used):
        cached.cache_clear()
    clear_url_caches()
    trans_real._default = None
    translation.deactivate()


def ask(languages, default, prefix, path, accepted, cookies):
    headers = {"HTTP_ACCEPT_LANGUAGE": accepted, "HTTP_COOKIE": cookies}
    request = RequestFactory().get("/p/", **{name: value for name, value in headers.items() if value is not None})
    request.path_info = path
    settings_of_site = override_settings(
        LANGUAGES=[(code, code) for code in languages], LANGUAGE_CODE=default, ROOT_URLCONF=prefix
    )
    with settings_of_site:
        forget()
        response = LocaleMiddleware(page)(request)
    return {
        "languages": languages, "default": default, "prefix": prefix, "path": path, "accept_language": accepted,
        "cookie": cookies, "language": response.content.decode(),
        "content_language": response.headers["Content-Language"], "vary": response.headers.get("Vary"),
    }


cases = []
while len(cases) < int(sys.argv[3]):
    languages = chance.choice(SITES)
    default = chance.choice(languages + ["en-us"]) if chance.random() < 0.4 else languages[0]
    prefix = chance.choice(["none", "none", "all", "all-but-default"])
    cases.append(ask(languages, default, prefix, path_info(), accept_language(), cookie()))
print("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]")
