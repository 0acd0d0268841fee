package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/bookinfo/internal/mesh"
)

// head begins a VirtualService of which lines 1 to 5 are right.
const head = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
`

// right is a whole one, in ten lines.
const right = head + `  hosts:
  - reviews
  http:
  - route:
    - destination: {host: reviews}
`

func object(apiVersion, kind, spec string) string {
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x}\nspec:\n" + spec
}

// A wrong file is refused as a whole, with file, line, field and what would be right.
func TestWrongFiles(t *testing.T) {
	rule := func(text string) string { return head + "  hosts: [reviews]\n  http:\n  - " + text + "\n" }
	route := "route: [{destination: {host: reviews}}]\n    "
	for name, c := range map[string]struct{ text, want string }{
		"not YAML":            {"a: [", `f.yaml:1) not YAML: did not find expected node content`},
		"empty":               {"# nothing\n", "no objects in the file"},
		"no object":           {"- a\n", "a document must be an object with apiVersion, kind, metadata and spec, is array"},
		"no kind":             {"apiVersion: v1\n", "kind: must be set"},
		"unknown kind":        {"apiVersion: example.com/v1\nkind: VirtualServise\n", `f.yaml:2) kind: no matches for kind "VirtualServise" in version "example.com/v1"`},
		"unknown version":     {strings.Replace(right, "/v1", "/v2", 1), `apiVersion: no version "networking.istio.io/v2" of kind VirtualService: use networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3`},
		"Kubernetes":          {"apiVersion: apps/v1\nkind: Deployment\n", "kubectl applies it there"},
		"no name":             {"apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {}\n", "metadata.name: must be set"},
		"bad name":            {strings.Replace(right, "name: reviews", "name: Reviews_1", 1), `f.yaml:4) metadata.name: Invalid value "Reviews_1"`},
		"unknown metadata":    {strings.Replace(right, "name: reviews", "name: reviews\n  lables: {}", 1), `f.yaml:5) metadata.lables: unknown field "lables", did you mean "labels"?`},
		"unknown top":         {right + "sepc: {}\n", `f.yaml:11) sepc: unknown field "sepc"`},
		"twice the same key":  {right + "kind: VirtualService\n", "f.yaml:11) kind: the key is already set at line 2"},
		"unknown field":       {rule("match: [{url: {exact: /x}}]\n    " + route), `[IST0106] (VirtualService default/reviews f.yaml:8) spec.http[0].match[0].url: unknown field "url", did you mean "uri"?`},
		"wrong type":          {rule(`route: [{destination: {host: reviews}, weight: "90"}]`), `spec.http[0].route[0].weight: Invalid value "90": must be of type integer, is string`},
		"list for an object":  {rule("route: {destination: {host: reviews}}"), "spec.http[0].route: Invalid value: must be of type array, is object"},
		"number for a string": {rule(route + "headers: {request: {set: {x-a: 1}}}"), `spec.http[0].headers.request.set.x-a: Invalid value "1": must be of type string, is integer`},
		"two of a choice":     {rule("match: [{uri: {exact: /a, prefix: /b}}]\n    " + route), "only one of exact and prefix may be set"},
		"bad duration":        {rule(route + "timeout: 7 seconds"), `spec.http[0].timeout: Invalid value "7 seconds": must be a duration such as 7s, 0.5s or 100ms`},
		"bad regex":           {rule("match: [{uri: {regex: 'a('}}]\n    " + route), "spec.http[0].match[0].uri.regex: Invalid value \"a(\": not a regular expression (RE2)"},
		"group of a regex":    {rule("match: [{uri: {regex: 'a)(b'}}]\n    " + route), "not a regular expression"},
		"weights":             {rule("route: [{destination: {host: reviews}, weight: 90}, {destination: {host: ratings}, weight: 20}]"), "spec.http[0].route: total destination weight 110 != 100"},
		"negative weight":     {rule("route: [{destination: {host: reviews}, weight: -1}]"), "spec.http[0].route[0].weight: weight -1 < 0"},
		"no action":           {rule("timeout: 1s"), "HTTP route, redirect, directResponse or delegate is required"},
		"two actions":         {rule(route + "redirect: {uri: /x}"), "HTTP route cannot contain both redirect and route"},
		"percentage":          {rule(route + "fault: {delay: {fixedDelay: 7s, percentage: {value: 101}}}"), "spec.http[0].fault.delay.percentage.value: Invalid value 101: must be from 0 to 100"},
		"abort status":        {rule(route + "fault: {abort: {httpStatus: 42, percentage: {value: 1}}}"), "httpStatus: Invalid value 42: must be from 200 to 599"},
		"retryOn":             {rule(route + "retries: {attempts: 1, retryOn: 'sometimes'}"), `retryOn: Invalid value "sometimes"`},
		"wildcard on mesh":    {strings.Replace(right, "- reviews", `- "*"`, 1), "wildcard host * is not allowed for virtual services bound to the mesh gateway"},
		"no rules":            {head + "  hosts: [reviews]\n", "http, tcp or tls must be provided in virtual service"},
		"unknown host":        {rule("route: [{destination: {host: revues}}]"), `[IST0101] (VirtualService default/reviews f.yaml:8) spec.http[0].route[0].destination.host: Referenced host not found: "revues"`},
		"unknown subset":      {rule("route: [{destination: {host: reviews, subset: v4}}]"), `spec.http[0].route[0].destination.subset: Referenced host+subset in destinationrule not found: "reviews+v4"`},
		"unknown port":        {rule("route: [{destination: {host: reviews, port: {number: 80}}}]"), `Referenced host:port not found: "reviews:80"`},
		"host of a rule":      {object("networking.istio.io/v1", "DestinationRule", "  host: revues\n"), `spec.host: Referenced host not found: "revues"`},
		"subset twice":        {object("networking.istio.io/v1", "DestinationRule", "  host: reviews\n  subsets: [{name: a}, {name: a}]\n"), `spec.subsets[1].name: Duplicate value: "a"`},
		"enum":                {object("networking.istio.io/v1", "DestinationRule", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: FAIR}}\n"), `Unsupported value: "FAIR": supported values: UNSPECIFIED, LEAST_CONN, RANDOM`},
		"gateway port":        {object("networking.istio.io/v1", "Gateway", "  servers: [{port: {number: 70000, name: http, protocol: HTTP}, hosts: ['*']}]\n"), "spec.servers[0].port.number: Invalid value 70000: port number must be from 1 to 65535"},
		"static entry":        {object("networking.istio.io/v1", "ServiceEntry", "  hosts: [a.example]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n"), "endpoints must be provided for resolution type STATIC"},
		"sampling":            {object("telemetry.istio.io/v1", "Telemetry", "  tracing: [{randomSamplingPercentage: 200}]\n"), "spec.tracing[0].randomSamplingPercentage: Invalid value 200: must be from 0 to 100"},
		"custom action":       {object("security.istio.io/v1", "AuthorizationPolicy", "  action: CUSTOM\n"), "action CUSTOM is not understood by the local mesh"},
		"half understood":     {object("security.istio.io/v1", "AuthorizationPolicy", "  rules: [{from: [{source: {requestPrincipals: ['*']}}]}]\n"), "requestPrincipals, remoteIpBlocks and trustDomains are not understood"},
		"HTTPRoute backend":   {object("gateway.networking.k8s.io/v1", "HTTPRoute", "  parentRefs: [{group: '', kind: Service, name: reviews, port: 9080}]\n  rules: [{backendRefs: [{name: reviews-v9, port: 9080}]}]\n"), `spec.rules[0].backendRefs[0].name: Referenced host not found: "reviews-v9"`},
		"HTTPRoute field":     {object("gateway.networking.k8s.io/v1", "HTTPRoute", "  parentRefs: [{name: g}]\n  rules: [{backends: []}]\n"), `spec.rules[0].backends: unknown field "backends"`},
		"HTTPRoute path":      {object("gateway.networking.k8s.io/v1", "HTTPRoute", "  parentRefs: [{name: g}]\n  rules: [{matches: [{path: {type: Prefix, value: /x}}]}]\n"), `Unsupported value: "Prefix": supported values: Exact, PathPrefix, RegularExpression`},
		"HTTPRoute filter":    {object("gateway.networking.k8s.io/v1", "HTTPRoute", "  parentRefs: [{name: g}]\n  rules: [{filters: [{type: CORS}]}]\n"), "a filter of type CORS must have the field of that name and no other"},
		"Gateway listener":    {object("gateway.networking.k8s.io/v1", "Gateway", "  gatewayClassName: istio\n  listeners: [{name: a, port: 80, protocol: HTP}]\n"), `spec.listeners[0].protocol: Unsupported value: "HTP"`},
		"alias bomb":          {"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "too large or too deeply nested"},
	} {
		t.Run(name, func(t *testing.T) {
			m := mesh.New(mesh.Bookinfo())
			// A right resource of the same file must not be applied either.
			text := c.text
			if strings.HasPrefix(text, "apiVersion") && strings.Contains(text, "metadata") {
				text += "---\n" + strings.Replace(right, "name: reviews", "name: other", 1)
			}
			result := m.Apply([]mesh.File{{Name: "f.yaml", Data: []byte(text)}}, "default", false)
			var lines []string
			for _, p := range result.Problems {
				if !p.Warning {
					lines = append(lines, p.String())
				}
			}
			if all := strings.Join(lines, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("problems:\n%s\nwant %s", all, c.want)
			}
			if s := m.Snapshot(); len(s.Resources) > 0 || len(result.Changes) > 0 || s.Version != 1 {
				t.Errorf("%d resources, %d changes, version %d: something of a wrong file was applied", len(s.Resources), len(result.Changes), s.Version)
			}
			for _, p := range result.Problems {
				if p.Line < 1 || strings.Contains(p.String(), "\n") {
					t.Errorf("line %d: %q", p.Line, p)
				}
			}
		})
	}
}

// A known field which the mesh does not act on is named, and the rest is applied.
func TestWarnings(t *testing.T) {
	m := mesh.New(mesh.Bookinfo())
	result := m.Apply([]mesh.File{{Name: "f.yaml", Data: []byte(strings.Replace(right, "  http:", "  tls:\n  - match: [{sniHosts: [a.example], port: 443}]\n    route: [{destination: {host: reviews}}]\n  http:", 1))}}, "default", false)
	if len(result.Changes) != 1 || len(result.Problems) != 1 {
		t.Fatalf("%+v", result)
	}
	if got, want := result.Problems[0].String(), "Warning (VirtualService default/reviews f.yaml:8) spec.tls: the local mesh does not act on this field; the rest of the resource is applied"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	result = m.Apply([]mesh.File{{Name: "g.yaml", Data: []byte(strings.Replace(right, "name: reviews", "name: again", 1))}}, "default", false)
	if got := fmt.Sprint(result.Problems); !strings.Contains(got, "[IST0109]") || !strings.Contains(got, "default/reviews,default/again") {
		t.Errorf("two VirtualServices for one host: %s", got)
	}
}

func TestApply(t *testing.T) {
	m := mesh.New(mesh.Bookinfo())
	actions := func(files ...mesh.File) string {
		var words []string
		for _, c := range m.Apply(files, "default", false).Changes {
			words = append(words, c.String())
		}
		return strings.Join(words, "; ")
	}
	file := func(name, text string) mesh.File { return mesh.File{Name: name, Data: []byte(text)} }
	const vs = "virtualservice.networking.istio.io/reviews "
	for _, step := range []struct{ text, want string }{
		{right, vs + "created"},
		{right, vs + "unchanged"},
		{"# a comment\n" + right, vs + "unchanged"},
		{strings.Replace(right, "{host: reviews}", "{host: ratings}", 1), vs + "configured"},
		{strings.Replace(right, "name: reviews", "name: reviews\n  labels: {a: b}", 1), vs + "configured"},
		{strings.Replace(right, "networking.istio.io/v1\n", "networking.istio.io/v1beta1\n", 1), vs + "configured"},
		{"apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(right), "\n", "\n  "), vs + "configured"},
	} {
		if got := actions(file("f.yaml", step.text)); got != step.want {
			t.Errorf("%s\n%s, want %s", step.text, got, step.want)
		}
	}
	if got := m.Snapshot().Resources[0].Generation; got != 3 {
		t.Errorf("generation %d, want 3: the spec was changed there and back", got)
	}

	// One wrong file does not stop another, but what depends on it.
	subset := strings.Replace(strings.Replace(right, "name: reviews", "name: needs-v1", 1), "{host: reviews}", "{host: reviews, subset: v1}", 1)
	bad := object("networking.istio.io/v1", "DestinationRule", "  host: reviews\n  subsets: [{name: v1}]\n  oops: 1\n")
	other := object("networking.istio.io/v1", "DestinationRule", "  host: details\n")
	if got, want := actions(file("a", subset), file("b", bad), file("c", other)), "destinationrule.networking.istio.io/x created"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if result := m.Apply([]mesh.File{file("f", strings.Replace(right, "name: reviews", "name: dry", 1))}, "default", true); len(result.Changes) != 1 || m.Snapshot().Resource(mesh.Key{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: "dry"}) != nil {
		t.Errorf("dry run: %+v", result)
	}
	key := m.Snapshot().Resources[0].Key()
	changes, err := m.Delete([]mesh.Key{key, {Group: key.Group, Kind: key.Kind, Namespace: "default", Name: "absent"}}, false)
	if len(changes) != 1 || err == nil || !strings.Contains(err.Error(), `virtualservices.networking.istio.io "absent" not found`) {
		t.Errorf("%v, %v", changes, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(right))
	f.Add([]byte(object("gateway.networking.k8s.io/v1", "HTTPRoute", "  parentRefs: [{name: g}]\n  rules: [{matches: [{path: {type: Exact, value: /x}, headers: [{name: a, value: b}]}]}]\n")))
	f.Add([]byte(object("security.istio.io/v1", "AuthorizationPolicy", "  rules: [{from: [{source: {namespaces: [a]}}], when: [{key: 'request.headers[a]', values: [b]}]}]\n")))
	f.Add([]byte(object("telemetry.istio.io/v1", "Telemetry", "  tracing: [{customTags: {a: {literal: {value: b}}}}]\n")))
	f.Add([]byte(object("networking.istio.io/v1", "DestinationRule", "  host: reviews\n  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 1s}}}, outlierDetection: {consecutive5xxErrors: 3}}\n")))
	f.Add([]byte("a: &a {<<: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := mesh.New(mesh.Bookinfo())
		result := m.Apply([]mesh.File{{Name: "f.yaml", Data: data}}, "default", false)
		if result.Failed() != (len(result.Changes) == 0) {
			t.Errorf("failed %v with %d changes", result.Failed(), len(result.Changes))
		}
		for _, p := range result.Problems {
			if p.Line < 1 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
