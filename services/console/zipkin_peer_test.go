package console_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// zipkinJar is Zipkin's server, which holds its UI too. Where it lies is asked of the environment, since it takes a
// Java machine a minute to start it.
func zipkinJar(t *testing.T) string {
	t.Helper()
	jar := os.Getenv("BOOKINFO_ZIPKIN_JAR")
	if jar == "" {
		need.Missing(t, "zipkin", "BOOKINFO_ZIPKIN_JAR names no zipkin-server-3.5.1-exec.jar; mvn dependency:get -Dartifact=io.zipkin:zipkin-server:3.5.1:jar:exec -Dtransitive=false brings one")
	}
	return jar
}

// startZipkin starts a real Zipkin with its spans in memory and gives its address.
func startZipkin(t *testing.T) string {
	t.Helper()
	java, jar := need.Tool(t, "java"), zipkinJar(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), java, "-Xmx256m", "-jar", jar)
	cmd.Env = append(os.Environ(), "QUERY_PORT="+port, "STORAGE_TYPE=mem")
	var log lines
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	base := "http://127.0.0.1:" + port
	for began := time.Now(); time.Since(began) < 4*time.Minute; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(base + "/health")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return base
		}
	}
	t.Fatalf("Zipkin does not start:\n%s", log.String())
	return ""
}

// requests are Bookinfo's page five times, a minute apart until now, one of them failing in ratings.
func requests(t *testing.T) (all []span.Span, ids []span.TraceID) {
	t.Helper()
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	for i := range 5 {
		o := recorded.Options{Start: time.Now().Add(time.Duration(i-6) * time.Minute), Seed: uint64(i + 1)}
		if i == 3 {
			o.Fail = "ratings.default"
		}
		spans := chain.Spans(o)
		ids = append(ids, spans[0].TraceID)
		all = append(all, spans...)
	}
	return all, ids
}

// TestRealZipkin: a console in front of a Zipkin shows what a console that holds the spans itself shows.
func TestRealZipkin(t *testing.T) {
	engine := startZipkin(t)
	spans, ids := requests(t)
	body, err := json.Marshal(format.Zipkin(spans))
	if err != nil {
		t.Fatal(err)
	}
	if a := send(t, "POST", engine+"/api/v2/spans", string(body), "Content-Type", "application/json"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	own := store.New(store.Options{})
	own.Append(spans)
	o, err := remote.Parse("zipkin=" + engine)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = time.Now
	b := remote.New(o)
	ctx := t.Context()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // Zipkin answers before it has stored
		if got, err := b.Trace(ctx, ids[4]); err == nil && len(got) == 9 {
			break
		} else if time.Since(began) > 40*time.Second {
			t.Fatalf("%d spans, %v", len(got), err)
		}
	}
	compareEngines(t, own, b, ids, cmpopts.IgnoreFields(backend.Summary{}, "Complete"))
}

// compareEngines asks the store that holds the spans and the one in front of an engine the same.
func compareEngines(t *testing.T, own, b backend.Backend, ids []span.TraceID, but ...cmp.Option) {
	t.Helper()
	ctx := t.Context()
	alike := cmp.Options{
		cmpopts.EquateApproxTime(time.Microsecond), cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= time.Microsecond }),
		cmpopts.IgnoreFields(backend.Result{}, "Scanned"),
	}
	alike = append(alike, but...)
	for name, ask := range map[string]func(backend.Backend) (any, error){
		"applications": func(b backend.Backend) (any, error) { return b.Applications(ctx, backend.Window{}) },
		"topology":     func(b backend.Backend) (any, error) { return b.Topology(ctx, "", backend.Window{}) },
		"servers":      func(b backend.Backend) (any, error) { return b.Servers(ctx, "reviews.default", backend.Window{}) },
		"names":        func(b backend.Backend) (any, error) { return b.Names(ctx, "ratings.default") },
		"newest":       func(b backend.Backend) (any, error) { return b.Search(ctx, backend.Query{OrderBy: backend.ByTime}) },
		"errors":       func(b backend.Backend) (any, error) { return b.Search(ctx, backend.Query{Status: "error"}) },
		"tag": func(b backend.Backend) (any, error) {
			return b.Search(ctx, backend.Query{Application: "ratings.default", Tags: `http.status_code = "500"`})
		},
		"by id":    func(b backend.Backend) (any, error) { return b.Search(ctx, backend.Query{ID: ids[1].String()}) },
		"no trace": func(b backend.Backend) (any, error) { return b.Search(ctx, backend.Query{ID: strings.Repeat("7", 32)}) },
	} {
		want, err := ask(own)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ask(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, alike); diff != "" {
			t.Errorf("%s (-own store +engine):\n%s", name, diff)
		}
	}
}

// lens opens the files of Zipkin's UI, which are in a jar within the server's.
func lens(t *testing.T) fs.FS {
	t.Helper()
	server, err := zip.OpenReader(zipkinJar(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, f := range server.File {
		if !strings.HasPrefix(f.Name, "BOOT-INF/lib/zipkin-lens-") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		jar, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		files, err := fs.Sub(jar, "zipkin-lens")
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	t.Fatal("the server has no UI")
	return nil
}

// TestZipkinsUI drives Zipkin's own UI on the console's answers, as behind a proxy that adds its files, and records
// what it asks for.
func TestZipkinsUI(t *testing.T) {
	browser, files := need.Tool(t, "chromium"), lens(t)
	c := start(t, console.Config{})
	spans, ids := requests(t)
	body, err := json.Marshal(format.Zipkin(spans))
	if err != nil {
		t.Fatal(err)
	}
	if a := send(t, "POST", c.URL+"api/v2/spans", string(body), "Content-Type", "application/json"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	target, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]bool{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		var names []string
		for name := range r.Request.URL.Query() {
			names = append(names, name)
		}
		sort.Strings(names)
		path := strings.Replace(r.Request.URL.Path, ids[3].String(), "{id}", 1)
		mu.Lock()
		defer mu.Unlock()
		asked[fmt.Sprintf("%d %s %s", r.StatusCode, path, strings.Join(names, ","))] = true
		return nil
	}
	ui := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/zipkin/")
		switch _, err := fs.Stat(files, name); {
		case strings.HasPrefix(name, "api/") || name == "config.json":
			proxy.ServeHTTP(w, r)
		case err == nil && name != "index.html":
			http.ServeFileFS(w, r, files, name)
		default: // every address of the UI is its one page
			page, err := fs.ReadFile(files, "index.html")
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(page)
		}
	}))
	defer ui.Close()

	ctx, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1400, 900))...)
	defer stop()
	ctx, stop = chromedp.NewContext(ctx)
	defer stop()
	ctx, stop = context.WithTimeout(ctx, 3*time.Minute)
	defer stop()
	text := func(s string) string { return fmt.Sprintf("document.body.innerText.includes(%q)", s) }
	// Each trace of a list has a button SHOW.
	results := func(n int) string { return fmt.Sprintf(`document.body.innerText.split(/\bSHOW\b/).length == %d`, n+1) }
	shows := func(path string, conditions ...string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate(ui.URL+path)); err != nil {
			t.Fatal(err)
		}
		for _, want := range conditions {
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				got, err := chromedp.Run(ctx, chromedp.Evaluate[bool](want))
				if err != nil {
					t.Fatal(err)
				}
				if got {
					break
				}
				if time.Since(began) > 40*time.Second {
					all, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
					t.Fatalf("%s does not show %s:\n%s", path, want, all)
				}
			}
		}
	}
	search := "&lookback=15m&limit=10&endTs=" + fmt.Sprint(time.Now().UnixMilli())
	shows("/zipkin/?serviceName=productpage.default"+search, results(5))
	shows("/zipkin/?serviceName=ratings.default&annotationQuery=error"+search, text("istio-ingressgateway.istio-system"), results(1))
	shows("/zipkin/traces/"+ids[3].String(), text("ratings.default"), text("reviews.default"))
	const run = `[...document.querySelectorAll("button")].filter(b => /run query/i.test(b.textContent)).map(b => b.click()).length == 1`
	const drawn = `document.querySelectorAll("canvas").length > 0`
	shows("/zipkin/dependency", run, drawn)

	mu.Lock()
	defer mu.Unlock()
	var got []string
	for request := range asked {
		got = append(got, request)
	}
	sort.Strings(got)
	t.Logf("Zipkin's UI asked:\n%s", strings.Join(got, "\n"))
	for _, request := range got {
		if !strings.HasPrefix(request, "200 ") {
			t.Errorf("not answered: %s", request)
		}
	}
	for _, want := range []string{
		"200 /zipkin/config.json ", "200 /zipkin/api/v2/services ", "200 /zipkin/api/v2/spans serviceName",
		"200 /zipkin/api/v2/remoteServices serviceName", "200 /zipkin/api/v2/trace/{id} ",
		"200 /zipkin/api/v2/dependencies endTs,lookback",
	} {
		if !asked[want] {
			t.Errorf("the UI did not ask %s", want)
		}
	}
}
