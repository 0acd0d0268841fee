//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tutorials say where everything is: Bookinfo in the namespace default (principals in the policies name it), the
// ingress gateway in istio-system, the console in observability.
const (
	namespace = "default"
	root      = "../.." // of the repository, where the tutorials' commands are run
	// mark is the label by which a later run knows that what it finds in default is a test's and may go.
	mark = "bookinfo-cluster-test"
)

const (
	title     = "<title>Simple Bookstore App</title>"
	star      = "glyphicon glyphicon-star"
	noReviews = "Sorry, product reviews are currently unavailable for this book."
	noRatings = "Ratings service is currently unavailable"
)

// gatewayURL and consoleURL are set once, before any test.
var gatewayURL, consoleURL string

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "the cluster cannot be tested:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := clean(); err != nil {
		fmt.Fprintln(os.Stderr, "cleaning up:", err)
		code = 1
	}
	os.Exit(code)
}

// prepare brings Bookinfo, its gateway, the console and 100 % sampling onto the cluster, as docs/kubernetes.md does.
func prepare() error {
	if os.Getenv("KUBECONFIG") == "" {
		return errors.New("KUBECONFIG is not set; it must name the cluster, whose namespace default is emptied")
	}
	labels, err := run("", "kubectl", "get", "namespace", namespace, "-o", "jsonpath={.metadata.labels."+mark+"}")
	if err != nil {
		return err
	}
	if labels != "true" {
		if left, err := run("", "kubectl", "get", "deployments", "-n", namespace, "-o", "name"); err != nil || left != "" {
			return fmt.Errorf("namespace %s is in use: %s %w", namespace, left, err)
		}
	}
	if err := clean(); err != nil {
		return err
	}
	for _, command := range []string{
		"kubectl label namespace default istio-injection=enabled --overwrite",
		"kubectl label namespace default " + mark + "=true --overwrite",
		"kubectl apply -f deploy/kubernetes/platform/bookinfo.yaml",
		"kubectl apply -f deploy/istio/bookinfo-gateway.yaml",
		"kubectl apply -k deploy/kubernetes/overlays/console",
		"kubectl apply -f deploy/istio/telemetry-otel.yaml",
		"kubectl -n observability rollout status deployment --timeout=120s",
		"kubectl rollout status deployment --timeout=180s",
	} {
		if _, err := run("", strings.Fields(command)...); err != nil {
			return err
		}
	}
	if gatewayURL, err = address("istio-system", "istio-ingressgateway", "80", "BOOKINFO_TEST_GATEWAY"); err != nil {
		return err
	}
	if consoleURL, err = address("observability", "zipkin", "9411", "BOOKINFO_TEST_CONSOLE"); err != nil {
		return err
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Second) {
		if body, _, err := get(gatewayURL + "/productpage"); err == nil && strings.Contains(body, title) {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("no page through the gateway in a minute: %w %.200s", err, body)
		}
	}
}

// clean takes away what a test may have left, and Bookinfo itself.
func clean() error {
	for _, command := range []string{
		"kubectl delete --ignore-not-found -n default virtualservices,destinationrules,gateways.networking.istio.io,serviceentries,authorizationpolicies,peerauthentications,telemetries,sidecars.networking.istio.io,httproutes,gateways.gateway.networking.k8s.io,networkpolicies,poddisruptionbudgets --all",
		"kubectl delete --ignore-not-found -n istio-system telemetries --all",
		"kubectl delete --ignore-not-found -f deploy/asm/tracing-on-external-zipkin.yaml",
		"kubectl delete --ignore-not-found -f deploy/kubernetes/platform/bookinfo-versions.yaml",
		"kubectl delete --ignore-not-found -k deploy/kubernetes/overlays/observed",
		"kubectl label namespace default istio-injection- " + mark + "-",
	} {
		if _, err := run("", strings.Fields(command)...); err != nil {
			return err
		}
	}
	return nil
}

// address finds out how this machine reaches a port of a Service: the variable, the load balancer's address, or the
// Service's own, which answers on a node.
func address(ns, service, port, variable string) (string, error) {
	if given := os.Getenv(variable); given != "" {
		return strings.TrimSuffix(given, "/"), nil
	}
	addresses, err := run("", "kubectl", "get", "service", service, "-n", ns, "-o",
		"jsonpath={.status.loadBalancer.ingress[0].ip} {.status.loadBalancer.ingress[0].hostname} {.spec.clusterIP}")
	if err != nil {
		return "", err
	}
	// kube-proxy learns of a new endpoint a moment after it is ready.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		for _, host := range strings.Fields(addresses) {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
			if err == nil {
				conn.Close()
				return "http://" + net.JoinHostPort(host, port), nil
			}
		}
	}
	return "", fmt.Errorf("%s/%s:%s does not answer at any of %q from here: set %s to a URL that does", ns, service, port, addresses, variable)
}

// run runs a program at the root of the repository. An error holds what it wrote.
func run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// sh runs a command line of a tutorial, as a reader does, and returns what it printed.
func sh(t *testing.T, line string) string {
	t.Helper()
	out, err := run("", "bash", "-o", "pipefail", "-c", line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply applies files until the test ends. Those that were there before stay as the file has them.
func apply(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		sh(t, "kubectl apply -f "+file)
		t.Cleanup(func() { sh(t, "kubectl delete --ignore-not-found -f "+file) })
	}
}

// applyText applies what a tutorial has the reader paste.
func applyText(t *testing.T, manifest string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pasted.yaml")
	if err := os.WriteFile(name, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, name)
}

// eventually asks again until the cluster has become so, at most for limit: istiod tells proxies of a change within a
// second or two.
func eventually(t *testing.T, limit time.Duration, holds func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %v", limit, err)
		}
	}
}

// get fetches with a connection of its own.
func get(target string) (body string, status int, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	return fetch(&client, target)
}

func fetch(client *http.Client, target string) (body string, status int, err error) {
	resp, err := client.Get(target)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return string(data), resp.StatusCode, err
}

// visit signs in as user, if one is named, asks base for the page and tells how long that took.
func visit(base, user string) (body string, status int, took time.Duration, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", 0, 0, err
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	if user != "" {
		resp, err := client.PostForm(base+"/login", url.Values{"username": {user}, "passwd": {"x"}})
		if err != nil {
			return "", 0, 0, err
		}
		resp.Body.Close()
	}
	begin := time.Now()
	body, status, err = fetch(client, base+"/productpage")
	return body, status, time.Since(begin), err
}

// shows waits until the page of a user contains each text, or with a leading "!" does not, three times in a row: one
// proxy may know of a change before another.
func shows(t *testing.T, base, user string, wants ...string) {
	t.Helper()
	eventually(t, 40*time.Second, func() error {
		for range 3 {
			body, _, _, err := visit(base, user)
			if err != nil {
				return err
			}
			for _, want := range wants {
				text, not := strings.CutPrefix(want, "!")
				if strings.Contains(body, text) == not {
					return fmt.Errorf("as %q the page should show %q (! is not):\n%s", user, want, body)
				}
			}
		}
		return nil
	})
}

// took asks once, after the change is everywhere, and wants the page to take as long as the lesson says.
func took(t *testing.T, base, user string, low, high time.Duration) {
	t.Helper()
	body, _, d, err := visit(base, user)
	if err != nil {
		t.Fatal(err)
	}
	if d < low || d > high {
		t.Errorf("the page of %q took %s, want %s to %s:\n%s", user, d, low, high, body)
	}
}

// stars asks n times and counts the pages with stars.
func stars(t *testing.T, base string, n int) int {
	t.Helper()
	count := 0
	for range n {
		body, status, err := get(base + "/productpage")
		if err != nil || status != http.StatusOK {
			t.Fatalf("%d %v", status, err)
		}
		if strings.Contains(body, star) {
			count++
		}
	}
	return count
}
