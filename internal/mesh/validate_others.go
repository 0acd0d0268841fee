package mesh

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

func (c *check) destinationRule(d *networking.DestinationRule) {
	if d.Host == "" {
		c.errorf("spec.host", "destination host must be set")
	} else {
		c.host("spec.host", d.Host)
	}
	c.exportTo(d.ExportTo)
	c.trafficPolicy("spec.trafficPolicy", d.TrafficPolicy)
	seen := make(map[string]bool)
	for i, subset := range d.Subsets {
		field := at("spec.subsets[%d]", i)
		switch {
		case !validName(strings.ToLower(subset.Name), 63, false):
			c.errorf(field+".name", "Invalid value %q: must be letters, digits and '-'", subset.Name)
		case seen[subset.Name]:
			c.errorf(field+".name", "Duplicate value: %q", subset.Name)
		}
		seen[subset.Name] = true
		c.trafficPolicy(field+".trafficPolicy", subset.TrafficPolicy)
	}
}

func (c *check) trafficPolicy(path string, p *networking.TrafficPolicy) {
	if p == nil {
		return
	}
	c.policyParts(path, p.LoadBalancer, p.ConnectionPool, p.OutlierDetection, p.Tls)
	for i, level := range p.PortLevelSettings {
		field := at("%s.portLevelSettings[%d]", path, i)
		c.port(field+".port.number", int(level.GetPort().GetNumber()))
		c.policyParts(field, level.LoadBalancer, level.ConnectionPool, level.OutlierDetection, level.Tls)
	}
}

func (c *check) policyParts(path string, lb *networking.LoadBalancerSettings, pool *networking.ConnectionPoolSettings, o *networking.OutlierDetection, tls *networking.ClientTLSSettings) {
	if hash := lb.GetConsistentHash(); hash != nil {
		if hash.HashKey == nil {
			c.errorf(path+".loadBalancer.consistentHash", "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName is required")
		}
		if cookie := hash.GetHttpCookie(); cookie != nil && cookie.Name == "" {
			c.errorf(path+".loadBalancer.consistentHash.httpCookie.name", "must be set")
		}
		if size := hash.GetRingHash().GetMinimumRingSize(); size > 8<<20 {
			c.errorf(path+".loadBalancer.consistentHash.ringHash.minimumRingSize", "Invalid value %d: at most %d", size, 8<<20)
		}
	}
	for field, value := range map[string]int32{
		"tcp.maxConnections": pool.GetTcp().GetMaxConnections(), "http.http1MaxPendingRequests": pool.GetHttp().GetHttp1MaxPendingRequests(),
		"http.http2MaxRequests": pool.GetHttp().GetHttp2MaxRequests(), "http.maxRequestsPerConnection": pool.GetHttp().GetMaxRequestsPerConnection(),
		"http.maxRetries": pool.GetHttp().GetMaxRetries(),
	} {
		if value < 0 {
			c.errorf(path+".connectionPool."+field, "Invalid value %d: must not be negative", value)
		}
	}
	c.duration(path+".connectionPool.tcp.connectTimeout", pool.GetTcp().GetConnectTimeout())
	if o != nil {
		c.percent(path+".outlierDetection.maxEjectionPercent", float64(o.MaxEjectionPercent))
		c.percent(path+".outlierDetection.minHealthPercent", float64(o.MinHealthPercent))
		c.duration(path+".outlierDetection.interval", o.Interval)
		c.duration(path+".outlierDetection.baseEjectionTime", o.BaseEjectionTime)
	}
	switch tls.GetMode() {
	case networking.ClientTLSSettings_ISTIO_MUTUAL, networking.ClientTLSSettings_MUTUAL:
		c.warnf(path+".tls.mode", "the local mesh has no mutual TLS: requests go on in plain text between its workloads")
	}
}

func (c *check) gateway(g *networking.Gateway) {
	if len(g.Servers) == 0 {
		c.errorf("spec.servers", "gateway must have at least one server")
	}
	protocols := []string{"HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"}
	for i, server := range g.Servers {
		field := at("spec.servers[%d]", i)
		if server.Port == nil {
			c.errorf(field+".port", "port is required")
		} else {
			c.port(field+".port.number", int(server.Port.Number))
			if !slices.Contains(protocols, strings.ToUpper(server.Port.Protocol)) {
				c.errorf(field+".port.protocol", "Invalid value %q: must be one of %s", server.Port.Protocol, strings.Join(protocols, ", "))
			}
			if server.Port.Name == "" {
				c.errorf(field+".port.name", "port name must be set")
			}
		}
		if len(server.Hosts) == 0 {
			c.errorf(field+".hosts", "server must have at least one host")
		}
		for j, host := range server.Hosts {
			_, name, ok := strings.Cut(host, "/")
			if !ok {
				name = host
			}
			c.host(at("%s.hosts[%d]", field, j), name)
		}
		if server.Port != nil && server.Tls != nil && !server.Tls.HttpsRedirect {
			c.warnf(field+".tls", "the local gateway speaks plain HTTP on its one listener: no certificate is used")
		}
	}
}

func (c *check) serviceEntry(s *networking.ServiceEntry) {
	if len(s.Hosts) == 0 {
		c.errorf("spec.hosts", "service entry must have at least one host")
	}
	for i, host := range s.Hosts {
		field := at("spec.hosts[%d]", i)
		c.host(field, host)
		if host == "*" {
			c.errorf(field, "invalid host *: a service entry must name hosts")
		}
		if strings.HasPrefix(host, "*") && s.Resolution != networking.ServiceEntry_NONE {
			c.errorf(field, "hosts must be FQDN if no endpoints are provided for resolution mode %s", s.Resolution)
		}
	}
	c.exportTo(s.ExportTo)
	if len(s.Ports) == 0 {
		c.errorf("spec.ports", "service entry must have at least one port")
	}
	names, numbers := make(map[string]bool), make(map[uint32]bool)
	for i, port := range s.Ports {
		field := at("spec.ports[%d]", i)
		c.port(field+".number", int(port.Number))
		if port.Name == "" {
			c.errorf(field+".name", "port name must be set")
		}
		if names[port.Name] || numbers[port.Number] {
			c.errorf(field, "Duplicate value: port %d (%s)", port.Number, port.Name)
		}
		names[port.Name], numbers[port.Number] = true, true
	}
	for i, e := range s.Endpoints {
		if e.Address == "" {
			c.errorf(at("spec.endpoints[%d].address", i), "must be set")
		}
		for _, name := range sortedNames(e.Ports) {
			c.port(at("spec.endpoints[%d].ports.%s", i, name), int(e.Ports[name]))
			if !names[name] {
				c.errorf(at("spec.endpoints[%d].ports.%s", i, name), "no port of the service entry has the name %q", name)
			}
		}
	}
	if s.Resolution == networking.ServiceEntry_STATIC && len(s.Endpoints) == 0 && s.WorkloadSelector == nil {
		c.errorf("spec.endpoints", "endpoints must be provided for resolution type STATIC")
	}
	if s.Resolution == networking.ServiceEntry_NONE && len(s.Endpoints) > 0 {
		c.errorf("spec.endpoints", "no endpoints should be provided for resolution type NONE")
	}
}

func (c *check) telemetry(t *telemetry.Telemetry) {
	for i, tracing := range t.Tracing {
		field := at("spec.tracing[%d]", i)
		if len(tracing.Providers) > 1 {
			c.errorf(field+".providers", "multiple providers is not currently supported")
		}
		for j, provider := range tracing.Providers {
			// The names that deploy/istio gives the mesh's extension providers.
			if provider.GetName() != "zipkin" && provider.GetName() != "otel" {
				c.warnf(at("%s.providers[%d].name", field, j), "the local mesh knows the providers zipkin and otel: its own is kept")
			}
		}
		if p := tracing.RandomSamplingPercentage; p != nil {
			c.percent(field+".randomSamplingPercentage", p.Value)
		}
		for _, name := range sortedNames(tracing.CustomTags) {
			tag := field + ".customTags." + name
			switch kind := tracing.CustomTags[name].GetType().(type) {
			case nil:
				c.errorf(tag, "one of literal, environment and header is required")
			case *telemetry.Tracing_CustomTag_Literal:
				if kind.Literal.GetValue() == "" {
					c.errorf(tag+".literal.value", "must be set")
				}
			case *telemetry.Tracing_CustomTag_Header:
				c.headerName(tag+".header.name", kind.Header.GetName())
			case *telemetry.Tracing_CustomTag_Environment:
				if kind.Environment.GetName() == "" {
					c.errorf(tag+".environment.name", "must be set")
				}
			}
		}
	}
}

func (c *check) authorizationPolicy(p *security.AuthorizationPolicy) {
	switch p.Action {
	case security.AuthorizationPolicy_AUDIT, security.AuthorizationPolicy_CUSTOM:
		c.errorf("spec.action", "action %s is not understood by the local mesh: use ALLOW or DENY", p.Action)
	}
	if p.Action == security.AuthorizationPolicy_DENY && len(p.Rules) == 0 {
		c.warnf("spec.rules", "a DENY policy without rules denies nothing")
	}
	for i, rule := range p.Rules {
		for j, from := range rule.From {
			c.accessSource(at("spec.rules[%d].from[%d].source", i, j), from.Source)
		}
		for j, to := range rule.To {
			c.accessOperation(at("spec.rules[%d].to[%d].operation", i, j), to.Operation)
		}
		for j, when := range rule.When {
			c.accessCondition(at("spec.rules[%d].when[%d]", i, j), when)
		}
	}
}

func (c *check) accessSource(path string, s *security.Source) {
	if s == nil {
		c.errorf(path, "from must have a source")
		return
	}
	for i, block := range s.IpBlocks {
		c.ipBlock(at("%s.ipBlocks[%d]", path, i), block)
	}
	for i, block := range s.NotIpBlocks {
		c.ipBlock(at("%s.notIpBlocks[%d]", path, i), block)
	}
	if len(s.RequestPrincipals)+len(s.NotRequestPrincipals)+len(s.RemoteIpBlocks)+len(s.NotRemoteIpBlocks)+len(s.TrustDomains)+len(s.NotTrustDomains) > 0 {
		// A rule that is understood by half would let requests pass that the author wanted to refuse.
		c.errorf(path, "requestPrincipals, remoteIpBlocks and trustDomains are not understood by the local mesh")
	}
	if empty(s.Principals, s.NotPrincipals, s.Namespaces, s.NotNamespaces, s.ServiceAccounts, s.NotServiceAccounts, s.IpBlocks, s.NotIpBlocks) {
		c.errorf(path, "source cannot be empty")
	}
}

func (c *check) accessOperation(path string, o *security.Operation) {
	if o == nil || empty(o.Hosts, o.NotHosts, o.Ports, o.NotPorts, o.Methods, o.NotMethods, o.Paths, o.NotPaths) {
		c.errorf(path, "operation cannot be empty")
		return
	}
	for i, port := range o.Ports {
		c.portText(at("%s.ports[%d]", path, i), port)
	}
	for i, port := range o.NotPorts {
		c.portText(at("%s.notPorts[%d]", path, i), port)
	}
	for _, list := range []struct {
		name  string
		paths []string
	}{{"paths", o.Paths}, {"notPaths", o.NotPaths}} {
		for i, p := range list.paths {
			if strings.ContainsAny(p, "{}") {
				c.errorf(at("%s.%s[%d]", path, list.name, i), "path templates are not understood by the local mesh: use an exact path, prefix* or *suffix")
			}
		}
	}
}

func empty(lists ...[]string) bool {
	for _, list := range lists {
		if len(list) > 0 {
			return false
		}
	}
	return true
}

func (c *check) accessCondition(path string, when *security.Condition) {
	if empty(when.Values, when.NotValues) {
		c.errorf(path, "at least one of values and notValues must be set")
	}
	if name, ok := strings.CutPrefix(when.Key, "request.headers["); ok && strings.HasSuffix(name, "]") {
		c.headerName(path+".key", strings.TrimSuffix(name, "]"))
		return
	}
	known := []string{"request.headers[NAME]", "source.namespace", "source.principal", "source.serviceAccount"}
	if !slices.Contains(known, when.Key) {
		c.errorf(path+".key", "Invalid value %q: the local mesh understands %s", when.Key, strings.Join(known, ", "))
	}
}
