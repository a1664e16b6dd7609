"""Django, told what to do by a test: one JSON object a line on standard input, one result a line on standard output."""

import json
import os
import sys
import traceback

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import re_path
from django.utils.cache import patch_vary_headers

renderings = 0


def page(request, path):
    """Says how often any page was rendered, and varies on what `?vary=` names."""
    global renderings
    renderings += 1
    response = HttpResponse(f"{path}: rendering {renderings}")
    patch_vary_headers(response, filter(None, request.GET.get("vary", "").split(",")))
    return response


urlpatterns = [re_path("^(.*)$", page)]

settings.configure(
    **{
        "ALLOWED_HOSTS": ["*"],
        "ROOT_URLCONF": __name__,
        "CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        "MIDDLEWARE": [
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
        ],
        **json.loads(os.environ.get("DJANGO_SETTINGS", "{}")),
    }
)
django.setup()

caches = {}


def plain(value):
    """What JSON can carry: bytes become {"bytes": hex}, other objects their repr."""
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"repr": repr(value)}


def rich(value):
    if isinstance(value, dict):
        if set(value) == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        return {key: rich(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rich(item) for item in value]
    return value


def make_cache(name, backend, settings):
    from django.utils.module_loading import import_string

    if backend == "PythonMemcachedCache":
        caches[name] = python_memcached(settings)
        return
    modules = {"FileBasedCache": "filebased", "DatabaseCache": "db", "RedisCache": "redis", "LocMemCache": "locmem"}
    module = modules.get(backend, "memcached")
    options = dict(settings)
    location = options.pop("LOCATION", "")
    caches[name] = import_string(f"django.core.cache.backends.{module}.{backend}")(location, options)


def python_memcached(settings):
    """The `MemcachedCache` that Django had until 4.0, over python-memcached."""
    import memcache
    from django.core.cache.backends.memcached import BaseMemcachedCache

    options = dict(settings)
    return BaseMemcachedCache(options.pop("LOCATION"), options, library=memcache, value_not_found_exception=ValueError)


def get_page(url, headers):
    """A page of this Django's, through its middleware."""
    from django.test import Client

    response = Client(headers=headers).get(url)
    return {"status": response.status_code, "headers": dict(response.items()), "body": response.content.decode()}


def call(cache, method, arguments):
    """Arguments are a list, or an object of names."""
    function = getattr(caches[cache], method)
    arguments = rich(arguments)
    return function(**arguments) if isinstance(arguments, dict) else function(*arguments)


orders = {"make_cache": make_cache, "call": call, "get_page": get_page}

for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = {"result": plain(orders[order.pop("do")](**order))}
    except Exception:
        answer = {"exception": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
