"""A service in Python that forwards trace headers: GET / asks BACKEND_URL and answers what it said."""

import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRACE_HEADERS = """
x-request-id x-client-trace-id
x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags b3
traceparent tracestate baggage
x-ot-span-context uber-trace-id x-amzn-trace-id x-cloud-trace-context grpc-trace-bin
x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-origin x-datadog-tags
sw8 sw8-correlation sw8-x
""".split()


def trace_headers(headers):
    """The headers to send on: those that came with a value, of several lines the first, tracestate joined."""
    out = {}
    for name in TRACE_HEADERS:
        lines = headers.get_all(name, [])
        value = ",".join(filter(None, lines)) if name == "tracestate" else (lines or [""])[0]
        if value:
            out[name] = value
    return out


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        call = urllib.request.Request(os.environ["BACKEND_URL"], headers=trace_headers(self.headers))
        try:
            with urllib.request.urlopen(call, timeout=10) as answer:
                status, body = 200, answer.read(1 << 20)
        except (urllib.error.URLError, OSError):
            status, body = 502, b"the backend does not answer"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Service).serve_forever()
