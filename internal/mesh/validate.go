package mesh

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// check gathers what is wrong with one resource.
type check struct {
	r        *Resource
	problems []Problem
}

func (c *check) add(warning bool, code, field, format string, args ...any) {
	c.problems = append(c.problems, Problem{
		Warning: warning, Code: code, Resource: c.r.FullName(), File: c.r.File, Line: lineOf(c.r.node, field),
		Field: field, Message: fmt.Sprintf(format, args...),
	})
}

func (c *check) errorf(field, format string, args ...any) {
	c.add(false, codeSchema, field, format, args...)
}
func (c *check) warnf(field, format string, args ...any) { c.add(true, "", field, format, args...) }

// validate checks one resource by itself, as Istio's validating webhook does; [references] checks what it names.
func validate(r *Resource) []Problem {
	c := &check{r: r}
	switch spec := r.Spec.(type) {
	case *networking.VirtualService:
		c.virtualService(spec)
	case *networking.DestinationRule:
		c.destinationRule(spec)
	case *networking.Gateway:
		c.gateway(spec)
	case *networking.ServiceEntry:
		c.serviceEntry(spec)
	case *telemetry.Telemetry:
		c.telemetry(spec)
	case *security.AuthorizationPolicy:
		c.authorizationPolicy(spec)
	case *gateway.GatewaySpec:
		c.apiGateway(spec)
	case *gateway.HTTPRouteSpec:
		c.httpRoute(spec)
	}
	return c.problems
}

// at writes a field path: at("spec.http[%d].match", i).
func at(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func (c *check) percent(field string, value float64) {
	if !(value >= 0 && value <= 100) {
		c.errorf(field, "Invalid value %v: must be from 0 to 100", value)
	}
}

func (c *check) regex(field, expression string) {
	// The whole must be matched, so that the expression is put in a group; "a)(b" is none.
	if _, err := regexp.Compile(expression); err != nil {
		c.errorf(field, "Invalid value %q: not a regular expression (RE2): %v", expression, err)
	} else if _, err := regexp.Compile("^(?:" + expression + ")$"); err != nil {
		c.errorf(field, "Invalid value %q: not a regular expression (RE2): %v", expression, err)
	}
}

func (c *check) port(field string, number int) {
	if number < 1 || number > 65535 {
		c.errorf(field, "Invalid value %d: port number must be from 1 to 65535", number)
	}
}

// host checks a name or wildcard.
func (c *check) host(field, host string) {
	name := strings.TrimPrefix(host, "*.")
	if host == "*" {
		return
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return
	}
	if !validName(strings.ToLower(name), 253, true) || strings.Contains(name, "..") {
		c.errorf(field, "Invalid value %q: must be a host name, *.suffix or *", host)
	}
}

func (c *check) headerName(field, name string) {
	if name == "" {
		c.errorf(field, "header name cannot be empty")
		return
	}
	for i := range len(name) {
		if b := name[i]; b <= ' ' || b >= 0x7f || strings.IndexByte(`()<>@,;\"/[]?={}`, b) >= 0 || b == ':' && i > 0 {
			c.errorf(field, "Invalid value %q: not the name of a header field", name)
			return
		}
	}
}

func (c *check) headerValue(field, value string) {
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			c.errorf(field, "Invalid value %q: a header value cannot have control characters", value)
			return
		}
	}
}

// ipBlock checks an address or a CIDR block.
func (c *check) ipBlock(field, block string) {
	if _, err := netip.ParsePrefix(block); err == nil {
		return
	}
	if _, err := netip.ParseAddr(block); err != nil {
		c.errorf(field, "Invalid value %q: must be an IP address or a block such as 10.0.0.0/8", block)
	}
}

func (c *check) portText(field, value string) {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
		c.errorf(field, "Invalid value %q: port number must be from 1 to 65535", value)
	}
}

// retryConditions are the words that Envoy's retry_on knows (x-envoy-retry-on and x-envoy-retry-grpc-on).
func retryConditions() []string {
	return []string{
		"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
		"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
		"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
	}
}

func (c *check) retryOn(field, list string) {
	for _, word := range strings.Split(list, ",") {
		word = strings.TrimSpace(word)
		if status, err := strconv.Atoi(word); err == nil && status >= 100 && status <= 599 {
			continue
		}
		if !slices.Contains(retryConditions(), word) {
			c.errorf(field, "Invalid value %q: retryOn must list status codes or %s", word, strings.Join(retryConditions(), ", "))
		}
	}
}

func (c *check) exportTo(list []string) {
	for i, namespace := range list {
		if namespace != "*" && namespace != "." && namespace != "~" && !validName(namespace, 63, false) {
			c.errorf(at("spec.exportTo[%d]", i), "Invalid value %q: must be a namespace, . or *", namespace)
		}
	}
}
