"""Django's own database cache on a SQLite file, told what to do by a test: one JSON list a line, one result a line.

Arguments: the file, the table, whether USE_TZ is on, the time zone.
"""

import json
import sys
import traceback

import django
from django.conf import settings

path, table, use_tz, zone = sys.argv[1:5]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}},
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": table,
            "OPTIONS": {"MAX_ENTRIES": 1000},
        }
    },
    USE_TZ=use_tz == "True",
    TIME_ZONE=zone,
)
django.setup()

from django.core.cache import cache
from django.core.management import call_command


def number(value):
    """Integers beyond JSON's travel as text."""
    return int(value["int"]) if isinstance(value, dict) else value


for line in sys.stdin:
    method, *arguments = json.loads(line)
    try:
        if method == "createcachetable":
            result = call_command("createcachetable", verbosity=0)
        else:
            result = getattr(cache, method)(*map(number, arguments))
        if isinstance(result, int) and not isinstance(result, bool):
            result = {"int": str(result)}
        answer = {"result": result if not isinstance(result, bytes) else "bytes"}
    except Exception:
        answer = {"exception": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
