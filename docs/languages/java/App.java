import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

/** A service in Java that forwards trace headers: GET / asks BACKEND_URL and answers what it said. */
public class App {
    static final String[] TRACE_HEADERS = """
        x-request-id x-client-trace-id
        x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags b3
        traceparent tracestate baggage
        x-ot-span-context uber-trace-id x-amzn-trace-id x-cloud-trace-context grpc-trace-bin
        x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-origin x-datadog-tags
        sw8 sw8-correlation sw8-x
        """.trim().split("\\s+");

    static final HttpClient CLIENT = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1)
        .followRedirects(HttpClient.Redirect.NORMAL)
        .connectTimeout(Duration.ofSeconds(5))
        .build();

    /** The headers to send on: those that came with a value, of several lines the first, tracestate joined. */
    static Map<String, String> traceHeaders(Headers headers) {
        Map<String, String> out = new LinkedHashMap<>();
        for (String name : TRACE_HEADERS) {
            List<String> lines = headers.getOrDefault(name, List.of());
            String value = lines.isEmpty() ? "" : lines.get(0);
            if (name.equals("tracestate")) {
                value = lines.stream().filter(line -> !line.isEmpty()).collect(Collectors.joining(","));
            }
            if (!value.isEmpty()) {
                out.put(name, value);
            }
        }
        return out;
    }

    static void handle(HttpExchange exchange) throws IOException {
        HttpRequest.Builder call = HttpRequest.newBuilder(URI.create(System.getenv("BACKEND_URL"))).timeout(Duration.ofSeconds(10));
        traceHeaders(exchange.getRequestHeaders()).forEach(call::setHeader);
        int status = 200;
        byte[] body;
        try {
            body = CLIENT.send(call.build(), HttpResponse.BodyHandlers.ofByteArray()).body();
        } catch (IOException | InterruptedException e) {
            status = 502;
            body = "the backend does not answer".getBytes();
        }
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", App::handle);
        server.start();
    }
}
