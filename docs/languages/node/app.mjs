// A service in Node.js that forwards trace headers: GET / asks BACKEND_URL and answers what it said.
import { createServer } from 'node:http';

const TRACE_HEADERS = `
  x-request-id x-client-trace-id
  x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags b3
  traceparent tracestate baggage
  x-ot-span-context uber-trace-id x-amzn-trace-id x-cloud-trace-context grpc-trace-bin
  x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-origin x-datadog-tags
  sw8 sw8-correlation sw8-x
`.trim().split(/\s+/);

// The headers to send on: those that came with a value, of several lines the first, tracestate joined.
// request.headers would join the lines of every header with a comma; headersDistinct keeps them apart.
function traceHeaders(request) {
  const out = {};
  for (const name of TRACE_HEADERS) {
    const lines = request.headersDistinct[name] ?? [];
    const value = name === 'tracestate' ? lines.filter(Boolean).join(',') : lines[0];
    if (value) out[name] = value;
  }
  return out;
}

createServer(async (request, response) => {
  try {
    const answer = await fetch(process.env.BACKEND_URL, {
      headers: traceHeaders(request),
      signal: AbortSignal.timeout(10_000),
    });
    response.end(await answer.text());
  } catch {
    response.writeHead(502).end('the backend does not answer');
  }
}).listen(Number(process.env.PORT), '127.0.0.1');
