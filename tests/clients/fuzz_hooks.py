"""For test_openapi_fuzz.py: how Schemathesis writes a body of lines."""
import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")}
